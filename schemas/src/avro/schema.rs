//! A writer's Avro schema as a flat list of nodes, which refer to one another by index: what a walk over a body needs.
//!
//! Not apache-avro's `Schema` (0.21): that one forgets whether a UUID is a text or 16 bytes, its parser panics on an alias
//! that is no name, and its resolution refuses decimals of few bytes. It is what our tests hold this against. The source is the Avro 1.12 specification, "Schema Declaration".

use super::Undecodable;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Longest text of a schema, in bytes; a registry's are a few KB.
const TEXT_LIMIT: usize = 256 * 1024;

/// Index of a node.
pub(super) type Id = usize;

/// One type.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) logical: Logical,
}

/// The form of a type's bytes.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// So many bytes.
    Fixed(usize),
    /// So many symbols.
    Enum(usize),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    /// Names and types of the fields, in the order of their bytes.
    Record(Vec<(String, Id)>),
}

/// What a type's bytes mean beyond their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    /// Nothing more.
    Plain,
    /// So many digits behind the point.
    Decimal(u32),
    Uuid,
    Millis,
    Micros,
    Nanos,
    /// A time that is no instant, such as a date or a local time: never taken for one.
    OtherTime,
}

/// All types of a schema.
#[derive(Debug)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// Reads a schema. Returns its types and the index of the outermost. The depth is bounded by that of serde_json: 128.
    pub(super) fn parse(text: &str) -> Result<(Self, Id), Undecodable> {
        if text.len() > TEXT_LIMIT {
            return Err(Undecodable::new("its schema is longer than 256 KiB"));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|_| Undecodable::new("its schema is not JSON, or nested too deeply"))?;
        let mut parser = Parser::default();
        let root = parser.any(&value, "")?;
        Ok((Self(parser.nodes), root))
    }

    /// The type at an index.
    pub(super) fn get(&self, id: Id) -> Result<&Node, Undecodable> {
        self.0.get(id).ok_or_else(wrong)
    }
}

fn wrong() -> Undecodable {
    Undecodable::new("its schema is not a schema of Avro")
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, Id>,
}

impl Parser {
    fn add(&mut self, kind: Kind, logical: Logical) -> Id {
        self.nodes.push(Node { kind, logical });
        self.nodes.len() - 1
    }

    fn any(&mut self, value: &Value, space: &str) -> Result<Id, Undecodable> {
        match value {
            Value::String(name) => self.named(name, space),
            Value::Array(variants) => {
                let variants: Result<_, _> =
                    variants.iter().map(|variant| self.any(variant, space)).collect();
                Ok(self.add(Kind::Union(variants?), Logical::Plain))
            }
            Value::Object(object) => self.object(object, space),
            _ => Err(wrong()),
        }
    }

    /// A primitive type, or one defined before.
    fn named(&mut self, name: &str, space: &str) -> Result<Id, Undecodable> {
        if let Some(kind) = primitive(name) {
            return Ok(self.add(kind, Logical::Plain));
        }
        let known = self
            .names
            .get(&full_name(name, space))
            .or_else(|| self.names.get(name));
        known.copied().ok_or_else(wrong)
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Result<Id, Undecodable> {
        let value = object.get("type").ok_or_else(wrong)?;
        let Value::String(name) = value else {
            return self.any(value, space);
        };
        match name.as_str() {
            "record" | "error" => self.record(object, space),
            "enum" => {
                let symbols = object
                    .get("symbols")
                    .and_then(Value::as_array)
                    .ok_or_else(wrong)?
                    .len();
                self.define(object, space, Kind::Enum(symbols), Logical::Plain)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).ok_or_else(wrong)?;
                let kind = Kind::Fixed(usize::try_from(size).map_err(|_| wrong())?);
                let logical = logical(object, &kind);
                self.define(object, space, kind, logical)
            }
            "array" => {
                let items = self.any(object.get("items").ok_or_else(wrong)?, space)?;
                Ok(self.add(Kind::Array(items), Logical::Plain))
            }
            "map" => {
                let values = self.any(object.get("values").ok_or_else(wrong)?, space)?;
                Ok(self.add(Kind::Map(values), Logical::Plain))
            }
            name => match primitive(name) {
                Some(kind) => {
                    let logical = logical(object, &kind);
                    Ok(self.add(kind, logical))
                }
                None => self.named(name, space),
            },
        }
    }

    /// Adds a type under its name.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        space: &str,
        kind: Kind,
        logical: Logical,
    ) -> Result<Id, Undecodable> {
        let id = self.add(kind, logical);
        if self.names.insert(own_name(object, space)?, id).is_some() {
            return Err(wrong());
        }
        Ok(id)
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str) -> Result<Id, Undecodable> {
        // It has its name before its fields are read, since they may refer to it.
        let id = self.define(object, space, Kind::Record(vec![]), Logical::Plain)?;
        let name = own_name(object, space)?;
        let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner);
        let mut fields: Vec<(String, Id)> = vec![];
        for field in object.get("fields").and_then(Value::as_array).ok_or_else(wrong)? {
            let name = field.get("name").and_then(Value::as_str).ok_or_else(wrong)?;
            fields.push((
                name.to_owned(),
                self.any(field.get("type").ok_or_else(wrong)?, inner)?,
            ));
        }
        if let Some(node) = self.nodes.get_mut(id) {
            node.kind = Kind::Record(fields);
        }
        Ok(id)
    }
}

/// The full name of the type that an object defines.
fn own_name(object: &Map<String, Value>, space: &str) -> Result<String, Undecodable> {
    let name = object.get("name").and_then(Value::as_str).ok_or_else(wrong)?;
    let space = object.get("namespace").and_then(Value::as_str).unwrap_or(space);
    Ok(full_name(name, space))
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() {
        name.to_owned()
    } else {
        format!("{space}.{name}")
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// The logical type of an object of this kind; one that is unknown or does not fit is plain, as the specification says.
fn logical(object: &Map<String, Value>, kind: &Kind) -> Logical {
    let name = object
        .get("logicalType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match (name, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let scale = object.get("scale").map_or(Some(0), Value::as_u64);
            scale
                .and_then(|scale| u32::try_from(scale).ok())
                .map_or(Logical::Plain, Logical::Decimal)
        }
        ("uuid", Kind::String | Kind::Fixed(16)) => Logical::Uuid,
        ("timestamp-millis", Kind::Long) => Logical::Millis,
        ("timestamp-micros", Kind::Long) => Logical::Micros,
        ("timestamp-nanos", Kind::Long) => Logical::Nanos,
        ("local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos", Kind::Long)
        | ("time-micros", Kind::Long)
        | ("time-millis" | "date", Kind::Int) => Logical::OtherTime,
        _ => Logical::Plain,
    }
}
