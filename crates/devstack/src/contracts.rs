//! Our own contracts: built by forge, deployed once for each EntryPoint, with ether in the gas tank.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolValue,
};

use crate::{
    anvil::Node,
    artifact::creation_code,
    deploy::{DETERMINISTIC_DEPLOYER, create2},
    entry_points::{self, IEntryPoint},
    error::Result,
    keys,
    process::{Process, Spec},
    tools::Tools,
};

/// Where our contracts ended up.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The paymaster of each EntryPoint version (`"0.7"` …).
    pub paymasters: BTreeMap<String, Address>,
    /// A target that counts calls.
    pub counter: Address,
    /// A target that reverts when it is told to.
    pub flaky: Address,
}

/// Compiles the contracts that have changed. Blocks; a first build takes about a minute, because the compiler is WebAssembly.
///
/// # Errors
/// When forge is missing or refuses the sources.
pub fn build(tools: &Tools, log: &Path) -> Result<()> {
    let spec = Spec::new("forge", tools.forge()?, tools.root(), log)
        .inherit_env()
        .args(["build", "--offline"]);
    Process::start(&spec)?.succeed("forge build --offline", || {})
}

/// Deploys a paymaster for each EntryPoint, fills its deposit and deploys the targets that tests call.
///
/// # Errors
/// When an artifact is missing (see [`build`]) or the node refuses.
pub async fn deploy(
    tools: &Tools,
    node: &Node,
    signers: &[Address],
    deposit_wei: U256,
) -> Result<Deployed> {
    let paymaster_code = creation_code(&artifact(tools, "StipendPaymaster"))?;
    let mut paymasters = BTreeMap::new();
    for (version, entry_point) in entry_points::ALL {
        let arguments = (
            entry_point,
            keys::PAYMASTER_OWNER,
            signers.to_vec(),
            keys::PAYMASTER_GUARDIAN,
            keys::PAYMASTER_VAULT,
        )
            .abi_encode_params();
        let code = Bytes::from([paymaster_code.as_ref(), &arguments].concat());
        let name = format!("StipendPaymaster for EntryPoint v{version}");
        let paymaster = create2(node, DETERMINISTIC_DEPLOYER, B256::ZERO, &name, &code).await?;
        let deposit = IEntryPoint::depositToCall { account: paymaster };
        node.send(keys::DEPLOYER, entry_point, &deposit, deposit_wei).await?;
        paymasters.insert(version.to_owned(), paymaster);
    }
    Ok(Deployed {
        paymasters,
        counter: deploy_plain(tools, node, "Counter").await?,
        flaky: deploy_plain(tools, node, "Flaky").await?,
    })
}

async fn deploy_plain(tools: &Tools, node: &Node, contract: &str) -> Result<Address> {
    let code = creation_code(&artifact(tools, contract))?;
    create2(node, DETERMINISTIC_DEPLOYER, B256::ZERO, contract, &code).await
}

fn artifact(tools: &Tools, contract: &str) -> PathBuf {
    tools.root().join(format!("target/forge/out/{contract}.sol/{contract}.json"))
}
