//! Entry points of what hosts and their processors say, and of the schemas.

use virt_util::xml::Doc;

use crate::capabilities::Capabilities;
use crate::cpu::CpuDocument;
use crate::domain_capabilities::DomainCapabilities;
use crate::schema;
use crate::storage_pool::capabilities::PoolCapabilities;

/// What is read is written so that it is read as the same.
pub fn fuzz_capabilities_xml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(first) = Capabilities::parse(text, "fuzz") else {
        return;
    };
    let written = first.to_xml();
    if let Ok(second) = Capabilities::parse(&written, "fuzz") {
        assert_eq!(second.to_xml(), written);
    }
}

/// What is read is written so that it is read as the same.
pub fn fuzz_domain_capabilities_xml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(first) = DomainCapabilities::parse(text, "fuzz") {
        let written = first.format();
        if let Ok(second) = DomainCapabilities::parse(&written, "fuzz") {
            assert_eq!(second.format(), written);
        }
    }
    if let Ok(first) = PoolCapabilities::parse(text, "fuzz") {
        let second = PoolCapabilities::parse(&first.format(), "fuzz").expect("what was written is read");
        assert_eq!(second, first);
    }
}

/// Processors of hosts and guests.
pub fn fuzz_cpu_xml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = CpuDocument::parse(text, "fuzz");
    }
}

/// The schema of any document gives a verdict, and the same one twice.
pub fn fuzz_schema(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(doc) = Doc::parse(text) {
        assert_eq!(schema::check(&doc), schema::check(&doc));
    }
}
