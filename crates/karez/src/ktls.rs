//! Kernel TLS of `karez serve`: asks the kernel at the start, and describes its answer.
//!
//! # Limitations
//!
//! With model posix-aio user space makes and opens all records: no thread of glibc can receive control
//! records, and every via is `copy` there in any case.

use karez_reactor::Model;
use karez_server::KernelTls;
use karez_tls::{KernelSupport, SuiteSupport, TlsVersion};
use std::io;
use std::sync::Arc;

use crate::cli::KtlsChoice;
use crate::stderr;

/// The use of kernel TLS, and its description for the start line.
pub(crate) struct Ktls {
    pub(crate) kernel: Option<Arc<KernelTls>>,
    pub(crate) description: String,
}

impl Ktls {
    /// Chooses by the kernel's answers.
    ///
    /// # Errors
    /// It is required, and there is none.
    pub(crate) fn choose(choice: KtlsChoice, model: Model) -> io::Result<Self> {
        let user_space =
            |reason: &str| Self { kernel: None, description: format!("TLS in user space{reason}") };
        if choice == KtlsChoice::Off {
            return Ok(user_space(""));
        }
        let required = choice == KtlsChoice::Require;
        if model == Model::PosixAio {
            if required {
                stderr::usage_error(&"--ktls require is not possible with --model posix-aio");
            }
            return Ok(user_space(""));
        }
        let support = KernelSupport::probe();
        match describe(&support) {
            Ok(description) => {
                let kernel = Some(Arc::new(KernelTls::new(support, required)));
                Ok(Self { kernel, description })
            }
            Err(reason) if required => {
                Err(io::Error::other(format!("--ktls require: no kernel TLS: {reason}")))
            }
            Err(reason) => Ok(user_space(&format!(" (no kernel TLS: {reason})"))),
        }
    }
}

/// Describes the ciphers that the kernel takes, or the reason why it takes none.
fn describe(support: &KernelSupport) -> Result<String, String> {
    let suites = support.suites.as_ref().map_err(ToString::to_string)?;
    let taken = |version| -> Vec<String> {
        suites.iter().filter(|suite| suite.version == version).filter_map(cipher).collect()
    };
    let (new, old) = (taken(TlsVersion::Tls13), taken(TlsVersion::Tls12));
    match (new.is_empty(), old.is_empty()) {
        (true, true) => Err("it takes no cipher".to_owned()),
        _ if new == old => Ok(format!("kernel TLS 1.2 and 1.3 ({})", new.join(", "))),
        (true, false) => Ok(format!("kernel TLS 1.2 ({})", old.join(", "))),
        (false, true) => Ok(format!("kernel TLS 1.3 ({})", new.join(", "))),
        _ => Ok(format!("kernel TLS 1.3 ({}) and 1.2 ({})", new.join(", "), old.join(", "))),
    }
}

fn cipher(suite: &SuiteSupport) -> Option<String> {
    let name = suite.cipher.name();
    match (suite.tx.is_ok(), suite.rx.is_ok()) {
        (true, true) => Some(name.to_owned()),
        (true, false) => Some(format!("{name} to send")),
        (false, true) => Some(format!("{name} to receive")),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_given_where_the_kernel_has_no_tls() {
        let suites = Err(io::Error::other("no module"));
        let mut support = KernelSupport::probe();
        support.suites = suites;
        assert_eq!(describe(&support), Err("no module".to_owned()));
        support.suites = Ok(Vec::new());
        assert_eq!(describe(&support), Err("it takes no cipher".to_owned()));
    }
}
