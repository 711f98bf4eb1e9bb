//! The protocol machines against nodes that lose, delay, reorder, lie and vanish, under a clock that
//! jumps from event to event. Every run follows from its seed, which a failure names.

#[path = "simulation/arrange.rs"]
mod arrange;
#[path = "simulation/gather.rs"]
mod gather;
#[path = "simulation/signing.rs"]
mod signing;
#[path = "simulation/world.rs"]
mod world;
