//! Sharing: what makes the verbs, the keys and the lists of the filesystem out
//! of contacts, tickets and the client of the node network (SEMANTICS 5).
//!
//! [`Owner`] grants and revokes in one's own store; [`Recipient`] finds and
//! opens what others have shared. Neither touches the content of files.

mod audit;
mod care;
mod follow;
mod grant;
mod info;
mod keys;
mod network;
pub mod nodes;
mod owner;
mod people;
mod recipient;
mod refusal;
mod revoke;
mod settle;

pub use self::{
    audit::uses,
    grant::{Estimate, Granted},
    network::{Network, Unreachable},
    owner::{Owner, Parts as OwnerParts, path_of},
    people::People,
    recipient::{Parts as RecipientParts, Recipient},
    refusal::Refused,
    revoke::{Toll, Withdrawn},
};
pub(crate) use self::{
    grant::kind_name,
    refusal::{FORGET, capital},
};
