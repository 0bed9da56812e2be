//! What a dApp says beside the operation.

use erc4337::sponsorship::SignatureForm;
use serde::Deserialize;

/// The `context` of a request: null, `{}` or absent say nothing. A field that is not known here was meant to change what
/// is signed, and must not be passed over in silence.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "context must be an object")]
pub(crate) struct Context {
    signing_phase: Option<SigningPhase>,
}

/// Which part of a sponsorship in the parallel form is asked for (EntryPoint v0.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SigningPhase {
    /// Tell what the account is to sign; reserve and sign nothing.
    Commit,
    /// The account has signed: reserve, and sign.
    Finalize,
}

impl Context {
    /// The phase, where the account signs first.
    pub(crate) const fn signing_phase(self) -> Option<SigningPhase> {
        self.signing_phase
    }

    /// The form that is signed.
    pub(crate) const fn form(self) -> SignatureForm {
        match self.signing_phase {
            None => SignatureForm::Sequential,
            Some(SigningPhase::Commit | SigningPhase::Finalize) => SignatureForm::Parallel,
        }
    }
}
