//! The schemes this version knows, and what must be known about them without computing anything.
//! SCHEMES §7.2.

use super::ThresholdRule;
use crate::error::{DecodeError, SplitError};
use crate::id::{CurveId, SchemeId};
use crate::policy::Threshold;

/// A scheme this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemeKind {
    /// Split-key ECIES, the production scheme.
    Split,
    /// BBS98, for comparison and debugging.
    Bbs98,
    /// ECIES re-encryption, for comparison and debugging.
    Ecies,
    /// AFGH, for comparison and debugging.
    #[cfg(feature = "afgh")]
    Afgh,
}

impl SchemeKind {
    /// Those that this program was built with, in the order of their ids.
    pub const ALL: [Self; COUNT] = [
        Self::Split,
        Self::Bbs98,
        Self::Ecies,
        #[cfg(feature = "afgh")]
        Self::Afgh,
    ];

    /// Its number in every encoding.
    #[must_use]
    pub const fn id(self) -> SchemeId {
        match self {
            Self::Split => SchemeId::SPLIT_ECIES,
            Self::Bbs98 => SchemeId::BBS98,
            Self::Ecies => SchemeId::ECIES,
            #[cfg(feature = "afgh")]
            Self::Afgh => SchemeId::AFGH,
        }
    }

    /// The curve it works on.
    #[must_use]
    pub const fn curve(self) -> CurveId {
        match self {
            Self::Split | Self::Bbs98 | Self::Ecies => CurveId::SECP256K1,
            #[cfg(feature = "afgh")]
            Self::Afgh => CurveId::BLS12_381,
        }
    }

    /// The thresholds it can have.
    #[must_use]
    pub const fn rule(self) -> ThresholdRule {
        match self {
            Self::Split => ThresholdRule::Any,
            Self::Bbs98 | Self::Ecies => ThresholdRule::OneOfN,
            #[cfg(feature = "afgh")]
            Self::Afgh => ThresholdRule::AllOfN,
        }
    }

    /// Refuses a threshold the scheme does not work with.
    ///
    /// # Errors
    /// [`SplitError::Rule`], which says what it works with.
    pub const fn check(self, threshold: Threshold) -> Result<(), SplitError> {
        self.rule().check(self.id(), threshold)
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Bbs98 => "bbs98",
            Self::Ecies => "ecies",
            #[cfg(feature = "afgh")]
            Self::Afgh => "afgh",
        }
    }

    /// The scheme people call `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Why nothing that matters should be shared by it; nothing for the production scheme.
    #[must_use]
    pub const fn weakness(self) -> Option<&'static str> {
        match self {
            Self::Split => None,
            Self::Bbs98 | Self::Ecies => Some(
                "any single node together with a reader can compute the key of what is shared, \
                 after a revocation too",
            ),
            #[cfg(feature = "afgh")]
            Self::Afgh => Some(
                "any single node can stop all reading by not answering, and its mathematics has \
                 not been reviewed as the default scheme's has",
            ),
        }
    }
}

const COUNT: usize = 3 + cfg!(feature = "afgh") as usize;

impl TryFrom<SchemeId> for SchemeKind {
    type Error = DecodeError;

    fn try_from(id: SchemeId) -> Result<Self, DecodeError> {
        let known = Self::ALL.into_iter().find(|kind| kind.id() == id);
        known.ok_or(DecodeError::Scheme(id))
    }
}
