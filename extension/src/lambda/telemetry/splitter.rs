//! Cuts a JSON array into its elements as the bytes come, without holding the array. Total: no input is refused.
//!
//! Only strings and brackets are looked at, so that an element that is no valid JSON costs itself and not its
//! neighbours, and an element that is too long is passed over without being kept.

use crate::limits::TELEMETRY_RECORD_BYTES_MAX;

/// One array's splitter.
#[derive(Debug, Default)]
pub struct Splitter {
    place: Place,
    /// Open brackets within the element.
    depth: usize,
    in_string: bool,
    escaped: bool,
    element: Vec<u8>,
    too_long: bool,
    faults: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `[`.
    #[default]
    Before,
    /// Between `[` and `]`.
    Within,
    /// After `]`, or where no array is.
    After,
}

impl Splitter {
    /// Takes the next bytes; `each` gets every element that is whole now.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for byte in bytes {
            match self.place {
                Place::Before if byte.is_ascii_whitespace() => {}
                Place::Before if *byte == b'[' => self.place = Place::Within,
                Place::Before => {
                    self.faults += 1;
                    self.place = Place::After;
                }
                Place::Within => self.within(*byte, &mut each),
                Place::After => return,
            }
        }
    }

    /// The body has ended. Returns what could not be used: bodies that are no array, elements cut off or too long.
    #[must_use]
    pub fn finish(self) -> u64 {
        // An empty body says nothing, and nothing wrong.
        self.faults + u64::from(self.place == Place::Within)
    }

    fn within(&mut self, byte: u8, each: &mut impl FnMut(&[u8])) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b',' if self.depth == 0 => self.element_ends(each),
            b']' if self.depth == 0 => {
                self.element_ends(each);
                self.place = Place::After;
            }
            _ => {
                self.keep(byte);
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.element.is_empty() && byte.is_ascii_whitespace() {
            return;
        }
        if self.element.len() < TELEMETRY_RECORD_BYTES_MAX {
            self.element.push(byte);
        } else {
            self.too_long = true;
        }
    }

    fn element_ends(&mut self, each: &mut impl FnMut(&[u8])) {
        if self.too_long {
            self.faults += 1;
        } else if !self.element.is_empty() {
            each(self.element.trim_ascii_end());
        }
        self.element.clear();
        self.too_long = false;
        self.depth = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements and the faults of `body`, in chunks of `size`.
    fn split(body: &[u8], size: usize) -> (Vec<String>, u64) {
        let (mut splitter, mut elements) = (Splitter::default(), Vec::new());
        for chunk in body.chunks(size) {
            splitter.feed(chunk, |element| elements.push(String::from_utf8_lossy(element).into_owned()));
        }
        (elements, splitter.finish())
    }

    #[test]
    fn elements_come_whole_however_the_bytes_come() {
        let body = br#" [ {"a":"],[\"{"} , [1,2] ,"x,y", 7 ]"#;
        for size in 1..=body.len() {
            let (elements, faults) = split(body, size);
            assert_eq!(elements, [r#"{"a":"],[\"{"}"#, "[1,2]", r#""x,y""#, "7"], "{size}");
            assert_eq!(faults, 0);
        }
    }

    #[test]
    fn what_is_no_array_is_counted_and_what_is_cut_off_is_too() {
        for (body, elements, faults) in
            [("", 0, 0), ("[]", 0, 0), ("{}", 0, 1), ("no", 0, 1), ("[1,{\"a\":", 1, 1), ("[1]]]junk", 1, 0)]
        {
            let (found, counted) = split(body.as_bytes(), 3);
            assert_eq!((found.len(), counted), (elements, faults), "{body}");
        }
    }

    #[test]
    fn an_element_that_is_too_long_costs_only_itself() {
        let long = "x".repeat(TELEMETRY_RECORD_BYTES_MAX);
        let (elements, faults) = split(format!("[1,\"{long}\",2]").as_bytes(), 1 << 12);
        assert_eq!((elements, faults), (vec!["1".to_owned(), "2".to_owned()], 1));
    }
}
