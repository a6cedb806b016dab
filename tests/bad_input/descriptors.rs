//! The contract's descriptors: every field of every request, and its encoding.

use std::sync::LazyLock;

use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tokend_tests::raw::contract_paths;

/// An RPC and its request.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    /// `Service/Method`.
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// A field of a request, or of a message in it.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// A path such as `requests.min_revision.epoch`. The entries of maps have `key` and `value`.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
    /// The field numbers on the path, outermost first.
    numbers: Vec<u32>,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Number,
    Enum,
    Message,
    Map,
}

impl Field {
    /// Encodes the field with a length-delimited value.
    pub(crate) fn encode(&self, value: &[u8]) -> Vec<u8> {
        self.encode_as(WireType::LengthDelimited, &delimited(value))
    }

    /// Returns `message` with this text in every occurrence of the field, or with the field added.
    pub(crate) fn paste(&self, message: &[u8], text: &str) -> Vec<u8> {
        paste(message, &self.numbers, text.as_bytes())
    }

    /// Encodes the field with this wire type and these bytes.
    pub(crate) fn encode_as(&self, wire_type: WireType, bytes: &[u8]) -> Vec<u8> {
        let (own, outer) = self.numbers.split_last().expect("a field has a number");
        let innermost = keyed(*own, wire_type, bytes);
        outer.iter().rev().fold(innermost, |inner, number| {
            keyed(*number, WireType::LengthDelimited, &delimited(&inner))
        })
    }
}

/// Returns `message` with `value` in the field at this path of numbers, outermost first.
fn paste(mut message: &[u8], numbers: &[u32], value: &[u8]) -> Vec<u8> {
    let (number, inner) = numbers.split_first().expect("a field has a number");
    let pasted = |old: &[u8]| {
        if inner.is_empty() {
            value.to_vec()
        } else {
            paste(old, inner, value)
        }
    };
    let (mut result, mut is_there) = (Vec::new(), false);
    while !message.is_empty() {
        let start = message;
        let (tag, wire_type) = decode_key(&mut message).expect("the key decodes");
        if (tag, wire_type) == (*number, WireType::LengthDelimited) {
            let length = usize::try_from(decode_varint(&mut message).expect("the length decodes"))
                .expect("the length fits into usize");
            let (old, rest) = message.split_at(length);
            result.extend(keyed(tag, wire_type, &delimited(&pasted(old))));
            (message, is_there) = (rest, true);
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default()).expect("the field decodes");
            result.extend(&start[..start.len() - message.len()]);
        }
    }
    if !is_there {
        result.extend(keyed(*number, WireType::LengthDelimited, &delimited(&pasted(&[]))));
    }
    result
}

/// Encodes a field key and the bytes after it.
pub(crate) fn keyed(number: u32, wire_type: WireType, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode_key(number, wire_type, &mut encoded);
    encoded.extend(bytes);
    encoded
}

/// Encodes bytes with their length before them.
pub(crate) fn delimited(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode_varint(bytes.len() as u64, &mut encoded);
    encoded.extend(bytes);
    encoded
}

/// Returns every RPC of the contract.
pub(crate) fn rpcs() -> &'static [Rpc] {
    static RPCS: LazyLock<Vec<Rpc>> = LazyLock::new(|| {
        let set = FileDescriptorSet::decode(tokend_proto::FILE_DESCRIPTOR_SET).expect("the descriptor set decodes");
        let rpc = |path: String| {
            let name = path
                .strip_prefix("/tokend.v1.")
                .expect("the service is tokend's")
                .to_owned()
                .leak();
            let mut fields = Vec::new();
            let request = message(&set, &request_type(&set, name));
            collect(&set, request, "", &[], &mut fields);
            Rpc { name, fields }
        };
        contract_paths().into_iter().map(rpc).collect()
    });
    &RPCS
}

/// Returns a field of an RPC's request.
pub(crate) fn field(rpc: &str, path: &str) -> &'static Field {
    let found = rpcs()
        .iter()
        .find(|known| known.name == rpc)
        .and_then(|rpc| rpc.fields.iter().find(|field| field.path == path));
    found.unwrap_or_else(|| panic!("{rpc} has no field {path}"))
}

fn request_type(set: &FileDescriptorSet, rpc: &str) -> String {
    let (service, method) = rpc.split_once('/').expect("the RPC is `Service/Method`");
    let services = set
        .file
        .iter()
        .filter(|file| file.package() == "tokend.v1")
        .flat_map(|file| &file.service);
    let methods = services
        .filter(|known| known.name() == service)
        .flat_map(|known| &known.method);
    methods
        .filter(|known| known.name() == method)
        .map(|known| known.input_type().to_owned())
        .next()
        .expect("the RPC is declared")
}

/// Returns a message by its full name, `.package.Outer.Inner`.
fn message<'a>(set: &'a FileDescriptorSet, name: &str) -> &'a DescriptorProto {
    let found = set.file.iter().find_map(|file| {
        let rest = name
            .strip_prefix('.')?
            .strip_prefix(file.package())?
            .strip_prefix('.')?;
        let (outermost, inner) = rest
            .split_once('.')
            .map_or((rest, None), |(outermost, inner)| (outermost, Some(inner)));
        let outermost = file.message_type.iter().find(|message| message.name() == outermost)?;
        match inner {
            None => Some(outermost),
            Some(inner) => outermost.nested_type.iter().find(|message| message.name() == inner),
        }
    });
    found.unwrap_or_else(|| panic!("there is no message {name}"))
}

fn collect(set: &FileDescriptorSet, of: &DescriptorProto, path: &str, numbers: &[u32], into: &mut Vec<Field>) {
    for field in &of.field {
        let path = if path.is_empty() {
            field.name().to_owned()
        } else {
            format!("{path}.{}", field.name())
        };
        let numbers = [
            numbers,
            &[field.number().try_into().expect("a field number is positive")],
        ]
        .concat();
        let inner = (field.r#type() == Type::Message).then(|| message(set, field.type_name()));
        let is_map = inner.is_some_and(|inner| inner.options.as_ref().is_some_and(|options| options.map_entry()));
        let kind = match field.r#type() {
            Type::String => Kind::Text,
            Type::Bool => Kind::Bool,
            Type::Enum => Kind::Enum,
            Type::Message if is_map => Kind::Map,
            Type::Message => Kind::Message,
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => Kind::Number,
            other => panic!("{path} is {other:?}: the matrix has no rows for that yet"),
        };
        let is_repeated = field.label() == Label::Repeated && !is_map;
        into.push(Field {
            path: path.clone(),
            kind,
            is_repeated,
            numbers: numbers.clone(),
        });
        if let Some(inner) = inner {
            collect(set, inner, &path, &numbers, into);
        }
    }
}
