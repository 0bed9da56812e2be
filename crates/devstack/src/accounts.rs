//! The smart accounts that the client libraries know, where those libraries look for them.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, address};

use crate::{
    anvil::Node,
    artifact::creation_code,
    deploy::{
        DETERMINISTIC_DEPLOYER, SAFE_SINGLETON_FACTORY, create2_at, transplant, with_address,
    },
    entry_points::{V07, V08, V09, artifact},
    error::Result,
    tools::Tools,
};

/// SimpleAccountFactory for EntryPoint v0.7.
pub const SIMPLE_FACTORY_V07: Address = address!("91E60e0613810449d098b0b5Ec8b51A0FE8c8985");
/// SimpleAccountFactory for EntryPoint v0.8.
pub const SIMPLE_FACTORY_V08: Address = address!("13E9ed32155810FDbd067D4522C492D6f68E5944");
/// Simple7702Account for EntryPoint v0.8: a delegate for EIP-7702 accounts.
pub const SIMPLE_7702_V08: Address = address!("e6Cae83BdE06E4c305530e199D7217f42808555B");
/// Simple7702Account for EntryPoint v0.9.
pub const SIMPLE_7702_V09: Address = address!("a46cc63eBF4Bd77888AA327837d20b23A63a56B5");

const SAFE_CONTRACTS: &str = "@safe-global/safe-contracts/build/artifacts/contracts";
const SAFE_4337: &str = "@safe-global/safe-4337/build/artifacts/contracts";

/// Safe 1.4.1: artifact and canonical address. All come from Safe's singleton factory with salt zero.
const SAFE: [(&str, Address); 5] = [
    ("Safe.sol/Safe", address!("41675C099F32341bf84BFc5382aF534df5C7461a")),
    ("SafeL2.sol/SafeL2", address!("29fcB43b46531BcA003ddC8FCB67FFE91900C762")),
    (
        "proxies/SafeProxyFactory.sol/SafeProxyFactory",
        address!("4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67"),
    ),
    ("libraries/MultiSend.sol/MultiSend", address!("38869bf66a61cF6bDB996A6aE40D5853Fd43B526")),
    (
        "libraries/MultiSendCallOnly.sol/MultiSendCallOnly",
        address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
    ),
];
/// Safe's module for ERC-4337 and EntryPoint v0.7.
const SAFE_4337_MODULE: Address = address!("75cf11467937ce3F2f357CE24ffc3DBF8fD5c226");
/// What a new Safe calls to enable the module.
const SAFE_MODULE_SETUP: Address = address!("2dd68b007B46fBe91B9A7c3EDa5A7a1063cB5b47");

/// Puts every account contract in place.
///
/// # Errors
/// When a package is not what it should be, or the node refuses.
pub async fn install(tools: &Tools, node: &Node) -> Result<()> {
    install_simple(tools, node).await?;
    install_safe(tools, node).await
}

async fn install_simple(tools: &Tools, node: &Node) -> Result<()> {
    for (package, entry_point, factory) in
        [("contracts-v07", V07, SIMPLE_FACTORY_V07), ("contracts-v08", V08, SIMPLE_FACTORY_V08)]
    {
        let code = creation_code(&artifact(tools, package, "SimpleAccountFactory"))?;
        let code = with_address(&code, entry_point);
        let contract = "SimpleAccountFactory";
        create2_at(node, DETERMINISTIC_DEPLOYER, B256::ZERO, contract, &code, factory).await?;
    }
    let delegate = "Simple7702Account";
    let code = creation_code(&artifact(tools, "contracts-v08", delegate))?;
    create2_at(node, DETERMINISTIC_DEPLOYER, B256::ZERO, delegate, &code, SIMPLE_7702_V08).await?;
    // The packaged v0.9 account is the release candidate's. It takes its EntryPoint as an argument, so it serves the final one as well.
    let code = creation_code(&artifact(tools, "contracts-v09", delegate))?;
    transplant(node, delegate, &with_address(&code, V09), SIMPLE_7702_V09).await
}

async fn install_safe(tools: &Tools, node: &Node) -> Result<()> {
    let path = |folder: &str, contract: &str| -> PathBuf {
        tools.package(&format!("{folder}/{contract}.json"))
    };
    let deployer = node.code(DETERMINISTIC_DEPLOYER).await?;
    node.set_code(SAFE_SINGLETON_FACTORY, &deployer).await?;
    for (contract, address) in SAFE {
        let code = creation_code(&path(SAFE_CONTRACTS, contract))?;
        create2_at(node, SAFE_SINGLETON_FACTORY, B256::ZERO, contract, &code, address).await?;
    }
    let contract = "Safe4337Module.sol/Safe4337Module";
    let code = with_address(&creation_code(&path(SAFE_4337, contract))?, V07);
    transplant(node, contract, &code, SAFE_4337_MODULE).await?;
    let contract = "SafeModuleSetup.sol/SafeModuleSetup";
    let code = creation_code(&path(SAFE_4337, contract))?;
    transplant(node, contract, &code, SAFE_MODULE_SETUP).await
}
