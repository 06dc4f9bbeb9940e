//! A file as the product sees it: without the items that exist only under `cfg(test)`.

use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, File, ImplItem, Item, ItemImpl, ItemMod, Meta};

/// A copy of the file without them.
pub(crate) fn without_tests(file: &File) -> File {
    let mut file = file.clone();
    WithoutTests.visit_file_mut(&mut file);
    file
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut File) {
        file.items.retain(stays);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(stays);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut ItemImpl) {
        block.items.retain(|item| match item {
            ImplItem::Fn(item) => !item.attrs.iter().any(is_test_only),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, block);
    }
}

fn stays(item: &Item) -> bool {
    let attributes = match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return true,
    };
    !attributes.iter().any(is_test_only)
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn is_test_only(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        _ => false,
    }
}

#[test]
fn only_what_is_for_tests_goes() {
    let count = |code: &str| without_tests(&syn::parse_file(code).unwrap()).items.len();
    assert_eq!(count("#[cfg(test)] mod tests {} #[test] fn a() {} #[cfg(all(test, unix))] use b;"), 0);
    assert_eq!(count("#[cfg(not(test))] mod a {} #[cfg(any(test, unix))] fn b() {} #[inline] fn c() {}"), 3);
}
