//! The instrumentation scopes of this process and the numbers they travel under.
//!
//! A scope is encoded once per process and named once per connection, before the first item that refers to it.

use bytes::Bytes;
use lambda_flush_proto::limits::{LINK_SCOPES_BYTES_MAX, LINK_SCOPES_MAX, SCOPE_BYTES_MAX};
use opentelemetry::InstrumentationScope;

use crate::encode;

/// See the module's description. Ids are 1, 2, 3, …
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    known: Vec<Known>,
    bytes: usize,
    last: usize,
    named: usize,
}

#[derive(Debug)]
struct Known {
    scope: InstrumentationScope,
    encoded: Bytes,
}

/// A scope that has to be named on the connection.
#[derive(Debug)]
pub(crate) struct Unnamed<'a> {
    pub(crate) id: u32,
    pub(crate) encoded: Bytes,
    pub(crate) schema_url: &'a str,
}

impl Scopes {
    /// The number of `scope`, or `None` when there are too many scopes, or too large ones.
    pub(crate) fn id(&mut self, scope: &InstrumentationScope) -> Option<u32> {
        // Nearly always the scope of the item before.
        if self.known.get(self.last).is_some_and(|known| known.scope == *scope) {
            return id(self.last);
        }
        let index = match self.known.iter().position(|known| known.scope == *scope) {
            Some(index) => index,
            None => self.add(scope)?,
        };
        self.last = index;
        id(index)
    }

    fn add(&mut self, scope: &InstrumentationScope) -> Option<usize> {
        let encoded: Bytes = encode::scope(scope).into();
        let url_bytes = scope.schema_url().map_or(0, str::len);
        let bytes = self.bytes + encoded.len() + url_bytes;
        let fits = encoded.len() <= SCOPE_BYTES_MAX && bytes <= LINK_SCOPES_BYTES_MAX;
        if !fits || self.known.len() >= LINK_SCOPES_MAX {
            return None;
        }
        self.bytes = bytes;
        self.known.push(Known { scope: scope.clone(), encoded });
        Some(self.known.len() - 1)
    }

    /// The next scope this connection has not heard of, if there is one; it counts as named from now on.
    pub(crate) fn name_next(&mut self) -> Option<Unnamed<'_>> {
        let known = self.known.get(self.named)?;
        let id = id(self.named)?;
        self.named += 1;
        Some(Unnamed {
            id,
            encoded: known.encoded.clone(),
            schema_url: known.scope.schema_url().unwrap_or_default(),
        })
    }

    /// A new connection knows none.
    pub(crate) fn forget_names(&mut self) {
        self.named = 0;
    }
}

fn id(index: usize) -> Option<u32> {
    u32::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;

    fn scope(name: &str) -> InstrumentationScope {
        InstrumentationScope::builder(name.to_owned()).build()
    }

    #[test]
    fn a_scope_keeps_its_number_and_is_named_once_per_connection() {
        let mut scopes = Scopes::default();
        assert_eq!(
            [scopes.id(&scope("a")), scopes.id(&scope("b")), scopes.id(&scope("a"))],
            [Some(1), Some(2), Some(1)]
        );
        let named = |scopes: &mut Scopes| {
            std::iter::from_fn(|| scopes.name_next().map(|scope| scope.id)).collect::<Vec<_>>()
        };
        assert_eq!(named(&mut scopes), [1, 2]);
        assert_eq!(scopes.id(&scope("c")), Some(3));
        assert_eq!(named(&mut scopes), [3]);
        scopes.forget_names();
        assert_eq!(named(&mut scopes), [1, 2, 3]);
    }

    #[test]
    fn a_scope_differs_by_version_and_attributes() {
        let mut scopes = Scopes::default();
        let plain = scope("a");
        let version = InstrumentationScope::builder("a").with_version("1").build();
        let attributes = InstrumentationScope::builder("a").with_attributes([KeyValue::new("k", 1)]).build();
        let ids = [&plain, &version, &attributes].map(|scope| scopes.id(scope));
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn there_is_a_limit_on_number_and_size() {
        let mut scopes = Scopes::default();
        assert_eq!(scopes.id(&scope(&"x".repeat(SCOPE_BYTES_MAX + 1))), None);
        for number in 1..=LINK_SCOPES_MAX {
            assert_eq!(scopes.id(&scope(&number.to_string())), u32::try_from(number).ok());
        }
        assert_eq!(scopes.id(&scope("one more")), None);
        assert_eq!(scopes.id(&scope("1")), Some(1));
    }
}
