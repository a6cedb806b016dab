//! The table and the contract say the same.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use super::*;

/// Every method of the services that are served, by its path, and the fields of its request.
fn declared() -> Vec<(String, MethodDescriptorProto, BTreeSet<String>)> {
    let sets = [
        tokend_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ]
    .map(|set| FileDescriptorSet::decode(set).expect("a descriptor set is well-formed"));
    let mut declared = Vec::new();
    for set in &sets {
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    declared.push((path, method.clone(), request_fields(set, method.input_type())));
                }
            }
        }
    }
    declared
}

/// The names of the fields of the message with this full name, `.package.Message`.
fn request_fields(set: &FileDescriptorSet, name: &str) -> BTreeSet<String> {
    let messages = set.file.iter().flat_map(|file| {
        let full_name = |message: &str| format!(".{}.{message}", file.package());
        file.message_type
            .iter()
            .filter(move |message| full_name(message.name()) == name)
    });
    messages
        .flat_map(|message| message.field.iter().map(|field| field.name().to_owned()))
        .collect()
}

#[test]
fn every_declared_method_has_a_row_and_every_row_a_method() {
    let declared: BTreeSet<_> = declared().into_iter().map(|(path, ..)| path).collect();
    let rows: BTreeSet<_> = Operation::ALL
        .iter()
        .map(|operation| operation.facts().path.to_owned())
        .collect();
    assert_eq!(rows, declared);
    assert_eq!(Operation::ALL.len(), declared.len(), "no path has two rows");
}

#[test]
fn a_row_says_what_the_contract_says() {
    for (path, method, fields) in declared() {
        let operation = Operation::of(&path).expect("it has a row");
        let facts = operation.facts();
        assert_eq!(facts.traffic.is_stream(), method.server_streaming(), "{path}");
        assert_eq!(facts.request_bytes.is_none(), method.client_streaming(), "{path}");
        // A call that ends verdicts waits until all servers know it, unless it is asked not to.
        assert_eq!(facts.ends_verdicts, fields.contains("no_wait"), "{path}");
        let reads = [
            "Get",
            "List",
            "Watch",
            "Identify",
            "Verify",
            "BatchVerify",
            "Check",
            "ServerReflection",
        ];
        let reads = reads.iter().any(|verb| method.name().starts_with(verb));
        assert_eq!(facts.changes, !reads, "{path}");
    }
}

#[test]
fn rows_agree_with_themselves() {
    for (index, operation) in Operation::ALL.iter().enumerate() {
        let facts = operation.facts();
        assert_eq!(*operation as usize, index, "{operation:?}");
        assert_eq!(Operation::of(facts.path), Some(*operation));
        assert!(facts.weight > 0 && facts.access != Roles(&[]), "{operation:?}");
        assert!(facts.changes || !facts.ends_verdicts, "{operation:?}");
        let is_administrative = operation.is_of_contract() && !facts.asks_for_verdicts;
        assert_eq!(facts.audits_refusals, is_administrative, "{operation:?}");
    }
    assert_eq!(Operation::of("/tokend.v1.TokenAdmin/CreateTokens"), None);
}
