//! How an error reads in a log.

use core::error::Error;
use core::fmt;

/// An error with its causes, on one line: `the chain's node failed: … : …`. For logs and terminals
/// only; a response never names a cause.
#[derive(Debug)]
pub struct Causes<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
