//! How many of how many nodes a scheme can work with. SCHEMES §7.2.

use core::fmt;

use super::SchemeKind;
use crate::error::SplitError;
use crate::id::SchemeId;
use crate::policy::Threshold;

/// The most nodes that sign together.
pub(super) const MAX_SIGNERS: u8 = 64;

/// Refuses a threshold a scheme does not work with.
///
/// # Errors
/// [`SplitError::Rule`], which says what it works with; [`SplitError::Scheme`] for one this version does not know.
pub fn check_threshold(scheme: SchemeId, threshold: Threshold) -> Result<(), SplitError> {
    #[cfg(feature = "signing")]
    if scheme == super::signing::ID {
        return ThresholdRule::Signers.check(scheme, threshold);
    }
    let kind = SchemeKind::try_from(scheme).map_err(|_| SplitError::Scheme(scheme))?;
    kind.check(threshold)
}

/// Which thresholds a scheme can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdRule {
    /// Any m of any n.
    Any,
    /// Every node holds the same re-encryption key and any one of them is enough.
    OneOfN,
    /// Every node holds a share of a sum and all of them are needed.
    AllOfN,
    /// Signing: not alone, and not by a crowd.
    Signers,
}

impl ThresholdRule {
    /// Whether the rule permits this.
    #[must_use]
    pub const fn permits(self, threshold: Threshold) -> bool {
        match self {
            Self::Any => true,
            Self::OneOfN => threshold.needed() == 1,
            Self::AllOfN => threshold.needed() == threshold.total(),
            Self::Signers => threshold.needed() >= 2 && threshold.needed() <= MAX_SIGNERS,
        }
    }

    /// What the rule makes of a wish: the same n, with the m the rule asks for.
    #[must_use]
    pub fn adapt(self, wish: Threshold) -> Threshold {
        let needed = match self {
            Self::Any => wish.needed(),
            Self::Signers => wish.needed().clamp(2, MAX_SIGNERS).min(wish.total()),
            Self::OneOfN => 1,
            Self::AllOfN => wish.total(),
        };
        Threshold::new(needed, wish.total()).expect("n is at least one and no m exceeds it")
    }

    /// Refuses what the rule does not permit.
    pub(super) const fn check(self, scheme: SchemeId, wish: Threshold) -> Result<(), SplitError> {
        if self.permits(wish) {
            return Ok(());
        }
        Err(SplitError::Rule {
            scheme,
            rule: self,
            needed: wish.needed(),
            total: wish.total(),
        })
    }
}

impl fmt::Display for ThresholdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "m of n",
            Self::OneOfN => "1 of n",
            Self::AllOfN => "n of n",
            Self::Signers => "2 to 64 of n",
        })
    }
}
