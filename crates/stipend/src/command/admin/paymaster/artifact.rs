//! The code that this binary deploys, and that deployed code is held against.

use core::fmt;
use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use domain::ChainId;
use serde::Deserialize;

use super::contract::Roles;

/// Written by `cargo xtask artifact`, and kept equal to the sources by `cargo xtask test`.
const EMBEDDED: &str = include_str!("../../../../../../contracts/artifacts/StipendPaymaster.json");

/// The most signers of an instance: the slots that the code has for them.
pub(crate) const MAX_SIGNERS: usize = 4;

/// The length of an immutable in the code.
const WORD: usize = 32;

/// The compiled paymaster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Artifact {
    /// The compiler's version and commit.
    pub(crate) compiler: String,
    /// What the constructor's arguments are appended to.
    bytecode: Bytes,
    /// The code as it stands on chain, with zeros for the immutables.
    deployed_bytecode: Bytes,
    /// Where each immutable stands in it.
    immutable_references: BTreeMap<String, Vec<usize>>,
}

/// The artifact inside the binary is broken, which no test would have let pass.
#[derive(Debug, thiserror::Error)]
#[error("this binary carries a broken contract: {0}")]
pub(crate) struct BrokenArtifact(String);

/// The first place where deployed code is not what the sources compile to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// There is no code at all.
    NoCode,
    /// A byte is another one.
    Byte {
        /// Its position, from 0.
        offset: usize,
        /// What stands there.
        found: u8,
        /// What should.
        expected: u8,
        /// The immutable that it is a part of, if it is of one.
        immutable: Option<String>,
    },
    /// One is longer, and they agree up to the end of the other.
    Length {
        /// Of the deployed code, in bytes.
        found: usize,
        /// Of ours.
        expected: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode => f.write_str("there is no code"),
            Self::Byte { offset, found, expected, immutable } => {
                write!(f, "byte {offset} is 0x{found:02x} and should be 0x{expected:02x}")?;
                match immutable {
                    Some(name) => write!(f, ", within the immutable {name}"),
                    None => Ok(()),
                }
            }
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes and should have {expected}")
            }
        }
    }
}

impl Artifact {
    /// The one that this binary was built with.
    pub(crate) fn embedded() -> Result<Self, BrokenArtifact> {
        let artifact: Self =
            serde_json::from_str(EMBEDDED).map_err(|error| BrokenArtifact(error.to_string()))?;
        if artifact.bytecode.is_empty() || artifact.deployed_bytecode.is_empty() {
            return Err(BrokenArtifact("it has no code".to_owned()));
        }
        Ok(artifact)
    }

    /// What the deployer runs: the code with its constructor's arguments.
    pub(crate) fn creation_code(&self, roles: &Roles) -> Bytes {
        let arguments =
            (roles.entry_point, roles.owner, roles.signers.clone(), roles.guardian, roles.vault)
                .abi_encode_params();
        [self.bytecode.as_ref(), &arguments].concat().into()
    }

    /// Holds deployed code against ours, leaving out the immutables: this needs no answer of the contract's.
    pub(crate) fn compare(&self, code: &[u8]) -> Option<Difference> {
        let is_fixed = |offset| self.immutable_at(offset).is_none();
        self.first_difference(code, &self.deployed_bytecode, is_fixed)
    }

    /// Holds the whole deployed code against ours with its immutables filled in.
    pub(crate) fn compare_whole(
        &self,
        code: &[u8],
        roles: &Roles,
        deployed: (ChainId, Address),
    ) -> Result<Option<Difference>, BrokenArtifact> {
        let expected = self.deployed_code(roles, deployed)?;
        Ok(self.first_difference(code, &expected, |_| true))
    }

    /// The first difference among the bytes that count.
    fn first_difference(
        &self,
        code: &[u8],
        expected: &[u8],
        counts: impl Fn(usize) -> bool,
    ) -> Option<Difference> {
        if code.is_empty() {
            return Some(Difference::NoCode);
        }
        let mut pairs = code.iter().zip(expected).enumerate();
        match pairs.find(|(offset, (found, expected))| found != expected && counts(*offset)) {
            Some((offset, (found, expected))) => Some(Difference::Byte {
                offset,
                found: *found,
                expected: *expected,
                immutable: self.immutable_at(offset).map(ToOwned::to_owned),
            }),
            None if code.len() == expected.len() => None,
            None => Some(Difference::Length { found: code.len(), expected: expected.len() }),
        }
    }

    /// The immutable that the byte at `offset` belongs to.
    fn immutable_at(&self, offset: usize) -> Option<&str> {
        let holds = |start: &usize| (*start..start.saturating_add(WORD)).contains(&offset);
        let mut immutables = self.immutable_references.iter();
        immutables.find_map(|(name, starts)| starts.iter().any(holds).then_some(name.as_str()))
    }

    /// The code of an instance on a chain, at its address.
    fn deployed_code(
        &self,
        roles: &Roles,
        (chain, address): (ChainId, Address),
    ) -> Result<Vec<u8>, BrokenArtifact> {
        let mut code = self.deployed_bytecode.to_vec();
        for (name, starts) in &self.immutable_references {
            let value = immutable(name, roles, chain, address)
                .ok_or_else(|| BrokenArtifact(format!("it has an unknown immutable {name}")))?;
            for start in starts {
                let place = code.get_mut(*start..start.saturating_add(WORD));
                place
                    .ok_or_else(|| BrokenArtifact(format!("{name} lies beyond the code")))?
                    .copy_from_slice(value.as_slice());
            }
        }
        Ok(code)
    }
}

/// The value of an immutable as the constructor sets it; an unused signer's slot repeats the first.
fn immutable(name: &str, roles: &Roles, chain: ChainId, address: Address) -> Option<B256> {
    let signer = |index: usize| {
        let signer = roles.signers.get(index).or_else(|| roles.signers.first());
        signer.map(|signer| signer.into_word())
    };
    match name {
        "entryPoint" => Some(roles.entry_point.into_word()),
        "_signer0" => signer(0),
        "_signer1" => signer(1),
        "_signer2" => signer(2),
        "_signer3" => signer(3),
        "depositGuardian" => Some(roles.guardian.into_word()),
        "vault" => Some(roles.vault.into_word()),
        "_chainId" => Some(U256::from(chain.0).into()),
        "_domainSeparator" => Some(domain_separator(chain, address)),
        _ => None,
    }
}

/// The [EIP-712](https://eips.ethereum.org/EIPS/eip-712#definition-of-domainseparator) domain of an instance.
fn domain_separator(chain: ChainId, address: Address) -> B256 {
    let fields = (
        keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        ),
        keccak256("Stipend"),
        keccak256("1"),
        U256::from(chain.0),
        address,
    );
    keccak256(fields.abi_encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId(31_337);
    const ADDRESS: Address = Address::repeat_byte(9);

    fn roles() -> Roles {
        Roles {
            entry_point: Address::repeat_byte(1),
            owner: Address::repeat_byte(2),
            signers: vec![Address::repeat_byte(3), Address::repeat_byte(4)],
            guardian: Address::repeat_byte(5),
            vault: Address::repeat_byte(6),
        }
    }

    fn whole(code: &[u8]) -> Option<Difference> {
        Artifact::embedded().unwrap().compare_whole(code, &roles(), (CHAIN, ADDRESS)).unwrap()
    }

    fn deployed() -> Vec<u8> {
        Artifact::embedded().unwrap().deployed_code(&roles(), (CHAIN, ADDRESS)).unwrap()
    }

    #[test]
    fn the_code_of_an_instance_is_its_own() {
        assert_eq!(whole(&deployed()), None);
        assert_eq!(Artifact::embedded().unwrap().compare(&deployed()), None);
    }

    #[test]
    fn every_changed_byte_is_named() {
        let artifact = Artifact::embedded().unwrap();
        let code = deployed();
        for offset in (0..code.len()).step_by(7) {
            let mut changed = code.clone();
            changed[offset] ^= 0x01;
            let immutable = artifact.immutable_at(offset).map(str::to_owned);
            let masked = artifact.compare(&changed);
            assert_eq!(masked.is_none(), immutable.is_some(), "byte {offset}");
            let named = Difference::Byte {
                offset,
                found: changed[offset],
                expected: code[offset],
                immutable,
            };
            assert_eq!(whole(&changed), Some(named));
        }
    }

    #[test]
    fn code_that_is_cut_or_continued_is_named() {
        let code = deployed();
        let length = |found| Difference::Length { found, expected: code.len() };
        assert_eq!(whole(&code[..code.len() - 1]), Some(length(code.len() - 1)));
        assert_eq!(whole(&[code.as_slice(), &[0]].concat()), Some(length(code.len() + 1)));
        assert_eq!(whole(&[]), Some(Difference::NoCode));
    }

    #[test]
    fn an_immutable_of_another_instance_is_named() {
        let mut other = roles();
        other.vault = Address::repeat_byte(7);
        let artifact = Artifact::embedded().unwrap();
        let code = artifact.deployed_code(&other, (CHAIN, ADDRESS)).unwrap();
        let named = whole(&code).unwrap().to_string();
        assert!(named.contains("within the immutable vault"), "{named}");
    }
}
