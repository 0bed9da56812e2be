use std::str::FromStr;

use alloy_primitives::Address;
use erc4337::EntryPointVersion;
use erc4337::entry_point::{UnknownEntryPointVersion, V06_ADDRESS};

#[test]
fn every_version_is_found_by_its_address_and_its_text() {
    for version in EntryPointVersion::ALL {
        assert_eq!(EntryPointVersion::from_canonical(version.canonical_address()), Some(version));
        assert_eq!(version.to_string().parse(), Ok(version));
        let json = serde_json::to_string(&version).unwrap();
        assert_eq!(json, format!("\"{version}\""));
        assert_eq!(serde_json::from_str::<EntryPointVersion>(&json).unwrap(), version);
    }
}

#[test]
fn version_0_6_is_not_a_version() {
    assert_eq!(EntryPointVersion::from_canonical(V06_ADDRESS), None);
    assert_eq!(EntryPointVersion::from_canonical(Address::ZERO), None);
    assert_eq!(EntryPointVersion::from_str("0.6"), Err(UnknownEntryPointVersion));
    assert!(serde_json::from_str::<EntryPointVersion>("\"0.6\"").is_err());
}
