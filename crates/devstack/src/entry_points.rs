//! EntryPoint v0.7, v0.8 and v0.9 at their canonical addresses.
//!
//! v0.7 and v0.8 are deployed as they were on public chains, by the deterministic deployer, and so prove themselves by
//! their addresses. The npm package of v0.9 is a release candidate that differs from the final contract, so its final runtime code is
//! taken from another package and put in place, with the two immutables that depend on the chain id rewritten; `getUserOpHash` and the domain separator
//! are then asked to prove that they were.

use std::{fs, path::Path};

use alloy::{
    primitives::{Address, B256, Bytes, U256, address, b256, keccak256},
    sol,
    sol_types::SolValue,
};

use crate::{
    anvil::Node,
    artifact::creation_code,
    deploy::{DETERMINISTIC_DEPLOYER, create2_at},
    error::{Error, Result},
    tools::Tools,
};

/// EntryPoint v0.7.
pub const V07: Address = address!("0000000071727De22E5E9d8BAf0edAc6f37da032");
/// EntryPoint v0.8.
pub const V08: Address = address!("4337084D9E255Ff0702461CF8895CE9E3b5Ff108");
/// EntryPoint v0.9.
pub const V09: Address = address!("433709009B8330FDa32311DF1C2AFA402eD8D009");

const SALT_V07: B256 = b256!("90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3");
const SALT_V08: B256 = b256!("0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9");
/// What EntryPoint v0.9 calls to deploy accounts; its address is an immutable of the EntryPoint.
const SENDER_CREATOR_V09: Address = address!("0A630a99Df908A81115A3022927Be82f9299987e");
/// The chain that the packaged runtime code of v0.9 was read from.
const CHAIN_OF_PACKAGED_V09: u64 = 1;

sol! {
    /// What the stack asks of an EntryPoint.
    interface IEntryPoint {
        /// Adds to the deposit of an account or paymaster.
        function depositTo(address account) external payable;
        /// The deposit, in wei.
        function balanceOf(address account) external view returns (uint256);
        /// The next nonce of a sender under a 192-bit key.
        function getNonce(address sender, uint192 key) external view returns (uint256);
        /// The EIP-712 domain separator (from v0.8 on).
        function getDomainSeparatorV4() external view returns (bytes32);
    }
}

/// The versions of an EntryPoint and their addresses, oldest first.
pub const ALL: [(&str, Address); 3] = [("0.7", V07), ("0.8", V08), ("0.9", V09)];

/// Puts the three EntryPoints in place.
///
/// # Errors
/// When a package is not what it should be, or the node refuses.
pub async fn install(tools: &Tools, node: &Node, chain_id: u64) -> Result<()> {
    for (package, contract, salt, address) in [
        ("contracts-v07", "EntryPoint v0.7", SALT_V07, V07),
        ("contracts-v08", "EntryPoint v0.8", SALT_V08, V08),
    ] {
        let code = creation_code(&artifact(tools, package, "EntryPoint"))?;
        create2_at(node, DETERMINISTIC_DEPLOYER, salt, contract, &code, address).await?;
    }
    install_v09(tools, node, chain_id).await
}

/// The artifact of a contract in one of the ERC-4337 packages.
pub(crate) fn artifact(tools: &Tools, package: &str, contract: &str) -> std::path::PathBuf {
    tools.package(&format!("@account-abstraction/{package}/artifacts/{contract}.json"))
}

async fn install_v09(tools: &Tools, node: &Node, chain_id: u64) -> Result<()> {
    let folder = tools.package("hardhat-predeploy").join("bin");
    let runtime = |address: Address| folder.join(format!("{address}.bytecode"));
    let creator = read(tools, &runtime(SENDER_CREATOR_V09))?;
    node.set_code(SENDER_CREATOR_V09, &creator.into()).await?;
    let path = runtime(V09);
    let code = for_chain(read(tools, &path)?, chain_id)
        .map_err(|reason| Error::Artifact { path, reason: reason.to_owned() })?;
    node.set_code(V09, &code).await?;
    let separator = node.view(V09, &IEntryPoint::getDomainSeparatorV4Call {}).await?;
    if separator == domain_separator(chain_id) {
        return Ok(());
    }
    Err(Error::Misplaced {
        contract: "EntryPoint v0.9".to_owned(),
        expected: V09,
        found: format!("its domain separator is {separator}"),
    })
}

fn read(tools: &Tools, path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|_| tools.missing("EntryPoint v0.9", path))
}

/// Rewrites the cached domain separator and the cached chain id (`PUSH32 chainid EQ`).
fn for_chain(code: Vec<u8>, chain_id: u64) -> Result<Bytes, &'static str> {
    let separator = |chain| domain_separator(chain).to_vec();
    let cached_chain = |chain: u64| {
        let mut push = vec![0x7f];
        push.extend(U256::from(chain).to_be_bytes::<32>());
        push.extend([0x46, 0x14]);
        push
    };
    let code = replace_once(code, &separator(CHAIN_OF_PACKAGED_V09), &separator(chain_id))
        .ok_or("the cached domain separator is not there exactly once")?;
    let code = replace_once(code, &cached_chain(CHAIN_OF_PACKAGED_V09), &cached_chain(chain_id))
        .ok_or("the cached chain id is not there exactly once")?;
    Ok(code.into())
}

fn replace_once(mut code: Vec<u8>, old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let mut places = code
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old)
        .map(|(start, _)| start);
    let (start, None) = (places.next()?, places.next()) else {
        return None;
    };
    drop(places);
    code.get_mut(start..start + old.len())?.copy_from_slice(new);
    Some(code)
}

/// The EIP-712 domain separator of the v0.9 EntryPoint on a chain.
fn domain_separator(chain_id: u64) -> B256 {
    let encoded = (
        keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        ),
        keccak256("ERC4337"),
        keccak256("1"),
        U256::from(chain_id),
        V09,
    )
        .abi_encode();
    keccak256(encoded)
}
