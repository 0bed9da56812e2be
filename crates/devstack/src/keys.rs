//! Who uses which account of the well-known test mnemonic `test test … junk`. Everybody knows these keys: they are worth nothing elsewhere.

use alloy::primitives::{Address, B256, address, b256};

/// Deploys the contracts, and pays for everything that needs ether.
pub const DEPLOYER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// Owns the paymasters. The service never holds its key.
pub const PAYMASTER_OWNER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
/// The key of [`PAYMASTER_OWNER`].
pub const PAYMASTER_OWNER_KEY: B256 =
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

/// The guardian of the paymasters, who may only send their deposits to [`PAYMASTER_VAULT`].
pub const PAYMASTER_GUARDIAN: Address = address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720");

/// Where the guardian sends the deposits.
pub const PAYMASTER_VAULT: Address = address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65");

/// Signs sponsorships. It needs no ether.
pub const SIGNER: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
/// The key of [`SIGNER`].
pub const SIGNER_KEY: B256 =
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a");

/// May sign in the place of [`SIGNER`].
pub const STANDBY: Address = address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc");
/// The key of [`STANDBY`].
pub const STANDBY_KEY: B256 =
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba");

/// The bundler's two accounts that send bundles.
pub const BUNDLER_EXECUTORS: [B256; 2] = [
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
];
/// The bundler's account that refills the executors.
pub const BUNDLER_UTILITY: B256 =
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97");
