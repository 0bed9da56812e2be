//! Where a key comes from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use alloy::signers::local::PrivateKeySigner;
use zeroize::Zeroizing;

use crate::{LocalSigner, Secret, TransactionSigner};

/// The most bytes that a key or keystore file may have. A keystore has about 500; the limit is there so that a path
/// to a device or a log file is refused instead of read.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Where a local key comes from. A secp256k1 private key is 32 bytes: as text, 64 hex digits with or without `0x`.
#[derive(Clone, Debug)]
pub enum SignerSource {
    /// An encrypted keystore file, version 3 of the
    /// [Web3 Secret Storage](https://ethereum.org/developers/docs/data-structures-and-encoding/web3-secret-storage).
    Keystore {
        /// The file.
        path: PathBuf,
        /// What it was encrypted with.
        password: Secret,
    },
    /// A file that holds the key in hex; white space around it is ignored. For secrets that a platform mounts.
    KeyFile {
        /// The file.
        path: PathBuf,
    },
    /// The key itself in hex. For the development stack.
    Key(Secret),
}

/// Why there is no signer. Names the file, never what it holds.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the key file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is longer than a key or keystore can be.
    #[error("{} is longer than {max} bytes and cannot be a key", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
    },
    /// The text is not a private key.
    #[error("a private key must be 64 hex digits and lie within the curve's order")]
    NotAKey,
    /// The keystore is malformed, or the password is wrong: which of them, a keystore does not tell reliably.
    #[error("the keystore {} does not open: it is malformed or the password is wrong", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

impl SignerSource {
    /// Loads the key to sign sponsorships. Reading and decrypting block the thread, a keystore for about a second:
    /// call it at start.
    ///
    /// # Errors
    /// [`LoadError`], which names the file and never its content.
    pub fn load(&self) -> Result<LocalSigner, LoadError> {
        self.key().map(LocalSigner::new)
    }

    /// Loads the key to sign transactions, as an operator's command does and the service never. Blocks like
    /// [`Self::load`].
    ///
    /// # Errors
    /// [`LoadError`], which names the file and never its content.
    pub fn load_for_transactions(&self) -> Result<TransactionSigner, LoadError> {
        self.key().map(TransactionSigner::new)
    }

    fn key(&self) -> Result<PrivateKeySigner, LoadError> {
        match self {
            Self::Keystore { path, password } => {
                read_limited(path)?;
                PrivateKeySigner::decrypt_keystore(path, password.expose())
                    .map_err(|_| LoadError::Locked { path: path.clone() })
            }
            Self::KeyFile { path } => parse_key(&read_limited(path)?),
            Self::Key(key) => parse_key(key.expose()),
        }
    }
}

fn parse_key(text: &str) -> Result<PrivateKeySigner, LoadError> {
    // The parser's error would quote a digit of the key.
    text.trim().parse().map_err(|_| LoadError::NotAKey)
}

fn read_limited(path: &Path) -> Result<Zeroizing<String>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = Zeroizing::new(String::new());
    let length = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(LoadError::TooLong { path: path.to_owned(), max: MAX_FILE_BYTES });
    }
    Ok(text)
}
