//! Walking through the document beside the schema.

use std::fmt;

use lambda_flush_proto::otlp::schema::{
    ANY_VALUE, EXPORT_LOGS, EXPORT_METRICS, EXPORT_TRACES, Field, Kind, Message, Rule,
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::number::Scalar;
use super::scalar::{self, Fault};
use super::write::{Step, Writer};

/// What the document has to be.
const DOCUMENT: &str = "an object: an OTLP request is one";

/// The document.
pub(super) struct Request<'a> {
    pub(super) message: &'static Message,
    pub(super) writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// All but an object has words of our own: those of `serde` say what was found instead.
impl<'de> Visitor<'de> for Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(not(DOCUMENT))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(not(DOCUMENT))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        fields(self.message, self.writer, map)
    }
}

fn not<E: Error>(what: &str) -> E {
    // Never what was found instead: it may be anything.
    E::custom(format_args!("not {what}"))
}

fn written<E: Error>(result: Result<(), impl Into<Fault>>) -> Result<(), E> {
    match result.map_err(Into::into) {
        Ok(()) => Ok(()),
        Err(Fault::Not(what)) => Err(not(what)),
        Err(Fault::Room) => Err(E::custom("no room")),
    }
}

/// The fields of one message.
fn fields<'de, A: MapAccess<'de>>(
    of: &'static Message,
    writer: &mut Writer,
    mut map: A,
) -> Result<(), A::Error> {
    let mut seen = 0_u32;
    while let Some(name) = map.next_key_seed(Name(of))? {
        let Some((place, field)) = name else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        writer.path.push(Step::Field(field.json));
        let bit = 1_u32.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0);
        if seen & bit != 0 {
            return Err(A::Error::custom("its key comes twice"));
        }
        seen |= bit;
        map.next_value_seed(Value { field, writer, in_list: false })?;
        writer.path.pop();
    }
    Ok(())
}

/// Unknown fields are passed over; but not those that a request of another signal begins with, whose items would
/// vanish.
fn is_other_request(of: &'static Message, name: &str) -> bool {
    let roots = [&EXPORT_TRACES, &EXPORT_METRICS, &EXPORT_LOGS];
    roots.iter().any(|root| std::ptr::eq(*root, of)) && roots.iter().any(|root| root.named(name).is_some())
}

/// A key, as the field it names.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<(usize, &'static Field)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<(usize, &'static Field)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        match self.0.named(name) {
            None if is_other_request(self.0, name) => {
                Err(E::custom("a request of another signal: each has a path of its own"))
            }
            field => Ok(field),
        }
    }
}

/// The value of a field, or one in its list.
struct Value<'a> {
    field: &'static Field,
    writer: &'a mut Writer,
    in_list: bool,
}

impl Value<'_> {
    fn scalar<E: Error>(self, value: Scalar<'_>) -> Result<(), E> {
        if self.is_list() {
            return Err(not("a list"));
        }
        match self.in_list && scalar::is_packed(self.field.kind) {
            true => written(scalar::write_packed(self.writer, self.field, value)),
            false => written(scalar::write(self.writer, self.field, value)),
        }
    }

    fn is_list(&self) -> bool {
        self.field.rule == Rule::Repeated && !self.in_list
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Scalar::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(value))
    }

    /// Absent. In a list of values it is a value, an empty one, and keeps the others in their places; a number's place
    /// can't be kept.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.field.kind {
            Kind::Message(message) if self.in_list && std::ptr::eq(message, &raw const ANY_VALUE) => {
                written(self.writer.field(self.field.number, &[]))
            }
            kind if self.in_list && scalar::is_packed(kind) => Err(not("a number")),
            _ => Ok(()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { field, writer, .. } = self;
        if field.rule != Rule::Repeated || self.in_list {
            return Err(not("a single value"));
        }
        let open = match scalar::is_packed(field.kind) {
            true => Some(writer.open(field.number).map_err(|_| A::Error::custom("no room"))?),
            false => None,
        };
        let mut index = 0;
        loop {
            writer.path.push(Step::Index(index));
            if list.next_element_seed(Value { field, writer, in_list: true })?.is_none() {
                break;
            }
            writer.path.pop();
            index += 1;
        }
        writer.path.pop();
        match open {
            Some(open) if writer.is_empty(&open) => writer.undo(&open),
            Some(open) => written(writer.close(&open))?,
            None => {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let is_list = self.is_list();
        let Self { field, writer, .. } = self;
        let Kind::Message(message) = field.kind else { return Err(not("a single value")) };
        if is_list {
            return Err(not("a list"));
        }
        if !writer.enter() {
            return Err(A::Error::custom("nested too deep"));
        }
        let open = writer.open(field.number).map_err(|_| A::Error::custom("no room"))?;
        fields(message, writer, map)?;
        written(writer.close(&open))?;
        writer.leave();
        Ok(())
    }
}
