//! Contracts at addresses that depend only on their code.

use alloy::{
    primitives::{Address, B256, Bytes, address},
    rpc::types::TransactionRequest,
    sol_types::SolValue,
};

use crate::{
    anvil::Node,
    error::{Error, Result},
    keys,
};

/// The deterministic deployment proxy, which anvil has from its first block.
pub const DETERMINISTIC_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
/// Safe's singleton factory: the same program at another address.
pub const SAFE_SINGLETON_FACTORY: Address = address!("914d7Fec6aaC8cd542e72Bca78B30650d45643d7");

/// Creation code followed by one address as the constructor's argument.
pub(crate) fn with_address(code: &Bytes, argument: Address) -> Bytes {
    [code.as_ref(), argument.abi_encode().as_slice()].concat().into()
}

/// Deploys through a CREATE2 factory that takes `salt ‖ creation code`, unless the contract is there already.
///
/// # Errors
/// When the transaction fails or leaves no code.
pub async fn create2(
    node: &Node,
    factory: Address,
    salt: B256,
    contract: &str,
    code: &Bytes,
) -> Result<Address> {
    let expected = factory.create2_from_code(salt, code);
    if !node.code(expected).await?.is_empty() {
        return Ok(expected);
    }
    let transaction = TransactionRequest::default()
        .from(keys::DEPLOYER)
        .to(factory)
        .input(Bytes::from([salt.as_slice(), code.as_ref()].concat()).into());
    let hash = node.submit(transaction).await?;
    node.receipt(hash).await?;
    if node.code(expected).await?.is_empty() {
        return Err(Error::Misplaced {
            contract: contract.to_owned(),
            expected,
            found: "nothing was deployed there".to_owned(),
        });
    }
    Ok(expected)
}

/// Deploys like [`create2`] and insists on the address that clients have built in.
///
/// # Errors
/// When the code gives another address.
pub(crate) async fn create2_at(
    node: &Node,
    factory: Address,
    salt: B256,
    contract: &str,
    code: &Bytes,
    expected: Address,
) -> Result<()> {
    let given = factory.create2_from_code(salt, code);
    if given != expected {
        return Err(Error::Misplaced {
            contract: contract.to_owned(),
            expected,
            found: format!("the package's code deploys to {given}"),
        });
    }
    create2(node, factory, salt, contract, code).await.map(drop)
}

/// Deploys anywhere and copies the runtime code to the address that clients have built in. For packages whose build differs from the one
/// on public chains in nothing but metadata or the compiler's version.
///
/// # Errors
/// When the deployment fails.
pub(crate) async fn transplant(
    node: &Node,
    contract: &str,
    code: &Bytes,
    target: Address,
) -> Result<()> {
    let built = create2(node, DETERMINISTIC_DEPLOYER, B256::ZERO, contract, code).await?;
    let runtime = node.code(built).await?;
    node.set_code(target, &runtime).await
}
