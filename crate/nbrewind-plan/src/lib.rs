//! The repeat rule and recipes. Pure: what is known comes in, a decision with its reasons goes out.
//!
//! * [`choose`]: may one of these run records stand for a real execution in this state?
//! * [`slice`]: which statements of a cell rebuild a name, and which names they need.
//!
//! Invariant: every doubt is a mismatch, and every mismatch has a sentence for the user.

mod recipe;
mod repeat;

pub use recipe::{Slice, slice};
pub use repeat::{Candidate, Decision, Inputs, NameFact, State, choose};
