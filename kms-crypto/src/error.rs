//! What can go wrong with keys, signatures, sealed boxes and re-encryption, as types.
//!
//! Blame is visible: *malformed* input, a *misbehaving* peer (which check failed), an *unsupported*
//! id (which one). A failed decryption is always one variant, whatever the cause.

use thiserror::Error;

use crate::id::{CurveId, SchemeId};
use crate::scheme::ThresholdRule;

/// A key, scalar or point that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are no point of the curve in its one permitted encoding.
    #[error("these 33 bytes are not a point of secp256k1")]
    NotAPoint,
    /// The scalar is zero or not below the group order.
    #[error("a secret key must be above zero and below the order of secp256k1")]
    NotAScalar,
    /// Wrong number of bytes.
    #[error("a key of {expected} bytes was expected, {found} were given")]
    Length {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}

/// A `kms1…` or `KMS-SECRET-KEY-1…` text that is none. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// Nothing was given.
    #[error("the key is empty")]
    Empty,
    /// It starts like something else.
    #[error("it does not start with {expected}")]
    Prefix {
        /// How such a key starts.
        expected: &'static str,
    },
    /// A secret key stands where a public key belongs.
    #[error(
        "this is a SECRET key; give the public one, which starts with kms1, and keep this to yourself"
    )]
    SecretGiven,
    /// A public key stands where a secret key belongs.
    #[error("this is a public key; the secret one starts with KMS-SECRET-KEY-1")]
    PublicGiven,
    /// Capital and small letters are mixed.
    #[error("capital and small letters are mixed, first at character {position}")]
    MixedCase {
        /// The first character of the other case.
        position: usize,
    },
    /// Characters are missing or too many.
    #[error("it has {found} characters instead of {expected}")]
    Length {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A character never occurs in such a key (`b`, `i`, `o`, `1` and everything but letters and digits).
    #[error("character {position} ({found:?}) does not occur in keys")]
    Character {
        /// Where it is.
        position: usize,
        /// What it is.
        found: char,
    },
    /// The checksum does not fit, and these characters are the likely cause.
    #[error("there is a typing error, probably at character {}", list(.positions))]
    Typo {
        /// Where the mistakes probably are, ascending.
        positions: Vec<usize>,
    },
    /// The checksum does not fit; too many characters are wrong to say which.
    #[error("there are several typing errors; copy the key again")]
    Checksum,
    /// Well spelt, but what it spells is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A signature that does not hold: wrong key, domain, message, or not in its one permitted form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// A sealed box that does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not a sealed box, or cut short.
    #[error("this is not a sealed box")]
    Malformed,
    /// Made by a version or for a curve or cipher this one does not know.
    #[error("the sealed box has {what} {id}, which this version does not know")]
    Unsupported {
        /// Which id it is.
        what: &'static str,
        /// Its value.
        id: u16,
    },
    /// For somebody else, about something else, or altered.
    #[error("the sealed box does not open with this key")]
    Refused,
}

/// An identity file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not an identity file, or cut short, or with something added.
    #[error("this is not an identity file, or it is damaged")]
    Malformed,
    /// Made by a version, or with a passphrase function, this one does not know.
    #[error("the identity file has {what} {id}, which this version does not know")]
    Unsupported {
        /// Which id it is.
        what: &'static str,
        /// Its value.
        id: u16,
    },
    /// Passphrase parameters that would exhaust the machine or protect nothing.
    #[error(
        "the identity file asks for a passphrase function of {memory_kib} KiB, {passes} passes, {lanes} lanes, which is refused"
    )]
    Parameters {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The readable public key in the comments is not the one inside.
    #[error("the public key in the comment is not the one in the file")]
    CommentDiffers,
    /// Not enough memory for the passphrase function.
    #[error("there is not enough memory to check the passphrase")]
    Memory,
    /// The passphrase is wrong or the file was altered; which of the two cannot be told.
    #[error("wrong passphrase, or the identity file was altered")]
    Passphrase,
}

/// Recovery words that are none. Positions count words from 1; the words themselves are secret and
/// are not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WordsError {
    /// Words are missing or too many.
    #[error("there are {found} words instead of 24")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A word is not in the list.
    #[error("word {position} is not a recovery word")]
    Unknown {
        /// Which one.
        position: usize,
    },
    /// All words exist, but one of them is another than it was, or two are exchanged.
    #[error(
        "every word exists, but they do not belong together: one is wrong or two are exchanged"
    )]
    Checksum,
    /// They spell no secret key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A capsule or fragment whose bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Too short, too long, or not starting as it must.
    #[error("these bytes are not a {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// A newer format.
    #[error("format version {0} is unknown here")]
    Version(u8),
    /// A scheme this version does not know.
    #[error("re-encryption scheme {} is unknown here", .0.0)]
    Scheme(SchemeId),
    /// A curve this version does not know, or not the scheme's.
    #[error("curve {} is unknown here, or not the scheme's", .0.0)]
    Curve(CurveId),
    /// A point is the identity, off the curve, or not in its one permitted encoding.
    #[error("{field} is not a valid point")]
    Point {
        /// Which field.
        field: &'static str,
    },
    /// A scalar is zero or not below the group order.
    #[error("{field} is not a valid scalar")]
    Scalar {
        /// Which field.
        field: &'static str,
    },
    /// A threshold of none, or of more than there are.
    #[error("a threshold of {needed} of {total} is impossible")]
    Threshold {
        /// m.
        needed: u8,
        /// n.
        total: u8,
    },
    /// A signature is not in its one permitted form.
    #[error("the signature is malformed")]
    Signature,
    /// The capsule's own check fails: it was altered or never was one.
    #[error("the capsule does not pass its own check")]
    CapsuleCheck,
}

/// Why a fragment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FragError {
    /// Its scheme is not the policy's or the capsule's.
    #[error("the fragment is of scheme {}, policy or capsule of scheme {}", .found.0, .expected.0)]
    Scheme {
        /// The policy's.
        expected: SchemeId,
        /// The fragment's.
        found: SchemeId,
    },
    /// The owner did not sign this fragment for this policy.
    #[error("the fragment is not signed by the policy's owner for this policy")]
    Signature,
    /// The share does not match the commitment the owner signed.
    #[error("the share does not match its commitment")]
    Commitment,
    /// First proof equation: E was not multiplied by the committed share.
    #[error("the re-encryption proof fails for E")]
    ProofE,
    /// Second proof equation: V was not multiplied by the committed share.
    #[error("the re-encryption proof fails for V")]
    ProofV,
    /// The proof, which is one equation in this scheme, fails: the capsule was not re-encrypted with the
    /// committed share.
    #[error("the re-encryption proof fails")]
    Proof,
    /// The part of a signature was not made by the committed share with the nonces it was asked to use.
    #[error("its part of the signature is wrong")]
    SignatureShare,
    /// Third proof equation: the prover does not know the committed share.
    #[error("the re-encryption proof fails for the commitment")]
    ProofCommitment,
}

/// Why a label's key could not be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Not 1 ≤ m ≤ n ≤ 255.
    #[error("a threshold of {needed} of {total} is impossible")]
    Threshold {
        /// m.
        needed: u8,
        /// n.
        total: u8,
    },
    /// No such scheme here.
    #[error("re-encryption scheme {} is unknown here", .0.0)]
    Scheme(SchemeId),
    /// The scheme does not work with this many of that many.
    #[error("scheme {} works {rule}, not {needed} of {total}", .scheme.0)]
    Rule {
        /// The scheme.
        scheme: SchemeId,
        /// What it needs.
        rule: ThresholdRule,
        /// m.
        needed: u8,
        /// n.
        total: u8,
    },
    /// A key is of one scheme where another is asked for.
    #[error("the key is of scheme {}, not of scheme {}", .found.0, .expected.0)]
    OtherScheme {
        /// The scheme asked for.
        expected: SchemeId,
        /// The key's.
        found: SchemeId,
    },
    /// The policy names another label key or ledger key than the ones at hand.
    #[error("the policy names another {0}")]
    OtherKey(&'static str),
    /// The source of random numbers repeats itself.
    #[error("the random number source repeats itself")]
    Randomness,
}

/// Why a capsule could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such scheme here, or another than the policy's.
    #[error("re-encryption scheme {} is unknown here, or not the policy's", .0.0)]
    Scheme(SchemeId),
    /// Fewer fragments than the policy needs.
    #[error("{needed} fragments are needed, {found} are there")]
    TooFew {
        /// m.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Two fragments are the same share.
    #[error("two fragments are the same share")]
    Duplicate,
    /// Fragments of different policies, capsules or splits are mixed.
    #[error("the fragments do not belong together")]
    Mixed,
    /// The policy is for somebody else.
    #[error("the policy is for another recipient")]
    OtherRecipient,
    /// The answers are proved one by one but do not add up to the label's key: the owner made the
    /// shares wrongly.
    #[error("the fragments do not add up to the label's key")]
    Inconsistent,
    /// The ephemeral key that the owner sealed to the recipient does not open, or is not the one the
    /// fragments were made for.
    #[error("the policy's sealed key does not open")]
    SealedKey,
}

fn list(positions: &[usize]) -> String {
    let words: Vec<String> = positions.iter().map(ToString::to_string).collect();
    words.join(" and ")
}
