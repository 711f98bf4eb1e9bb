//! The prefix of every capsule and fragment, and a strict reader of fixed fields. SCHEMES §7.1.

use k256::{AffinePoint, Scalar};

use crate::curve::{self, POINT_LEN, SCALAR_LEN};
use crate::error::DecodeError;
use crate::id::{CurveId, SchemeId};
use crate::policy::Threshold;
use crate::sign::Signature;

/// Length of the prefix.
pub(super) const PREFIX_LEN: usize = 6;
const VERSION: u8 = 1;

/// What an encoding is; its first byte.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Capsule = 0xc1,
    KeyFrag = 0xc2,
    CapsuleFrag = 0xc3,
    /// A share that its node has checked, as the node keeps it.
    StoredKeyFrag = 0xc4,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Capsule => "capsule",
            Self::KeyFrag => "key fragment",
            Self::CapsuleFrag => "capsule fragment",
            Self::StoredKeyFrag => "stored key fragment",
        }
    }
}

/// `kind ‖ version ‖ scheme u16be ‖ curve u16be`.
pub(super) fn prefix(kind: Kind, scheme: SchemeId, curve: CurveId) -> [u8; PREFIX_LEN] {
    let ([s0, s1], [c0, c1]) = (scheme.0.to_be_bytes(), curve.0.to_be_bytes());
    [kind as u8, VERSION, s0, s1, c0, c1]
}

/// Reads the prefix; the scheme and curve are for the caller to know or refuse.
pub(super) fn read_prefix(
    kind: Kind,
    bytes: &[u8],
) -> Result<(SchemeId, CurveId, Fields<'_>), DecodeError> {
    let malformed = DecodeError::Malformed { what: kind.name() };
    let Some((&[found, version, s0, s1, c0, c1], body)) = bytes.split_first_chunk() else {
        return Err(malformed);
    };
    if found != kind as u8 {
        return Err(malformed);
    }
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let scheme = SchemeId(u16::from_be_bytes([s0, s1]));
    let curve = CurveId(u16::from_be_bytes([c0, c1]));
    Ok((scheme, curve, Fields::new(body, kind.name())))
}

/// Takes fixed fields off the front, in order; nothing may remain.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of a `what` without a prefix.
    pub(crate) const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// Refuses bodies of any other length before a field is looked at.
    pub(crate) fn exactly(self, len: usize) -> Result<Self, DecodeError> {
        if self.rest.len() == len {
            Ok(self)
        } else {
            Err(self.malformed())
        }
    }

    /// The next `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next point: compressed, on the curve, not the identity.
    pub(crate) fn point(&mut self, field: &'static str) -> Result<AffinePoint, DecodeError> {
        let bytes = self.bytes::<POINT_LEN>()?;
        curve::decode_point(&bytes).ok_or(DecodeError::Point { field })
    }

    /// The next point, which need not be decompressed when it is this known one.
    pub(crate) fn point_or(
        &mut self,
        field: &'static str,
        known: Option<(&[u8; POINT_LEN], &AffinePoint)>,
    ) -> Result<AffinePoint, DecodeError> {
        match (known, self.rest.split_first_chunk()) {
            (Some((bytes, point)), Some((head, rest))) if head == bytes => {
                self.rest = rest;
                Ok(*point)
            }
            _ => self.point(field),
        }
    }

    /// The next scalar: in `1..n`.
    pub(crate) fn scalar(&mut self, field: &'static str) -> Result<Scalar, DecodeError> {
        let bytes = zeroize::Zeroizing::new(self.bytes::<SCALAR_LEN>()?);
        curve::decode_scalar(bytes.as_ref()).ok_or(DecodeError::Scalar { field })
    }

    /// The next two bytes: m and n.
    pub(crate) fn threshold(&mut self) -> Result<Threshold, DecodeError> {
        let [needed, total] = self.bytes()?;
        Threshold::new(needed, total).map_err(|_| DecodeError::Threshold { needed, total })
    }

    /// The next signature, in its one permitted form.
    pub(crate) fn signature(&mut self) -> Result<Signature, DecodeError> {
        let bytes = self.bytes::<{ Signature::LEN }>()?;
        Signature::from_bytes(&bytes).map_err(|_| DecodeError::Signature)
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what }
    }
}
