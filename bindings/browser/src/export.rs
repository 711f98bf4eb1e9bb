//! What the page sees of the module: four functions, and memory of which it is told where it may write and read.
//!
//! Nothing here trusts a pointer: the page is told addresses and gives none.
#![expect(
    unsafe_code,
    reason = "a name for the page is given by an attribute that counts as unsafe; nothing else here is"
)]

use std::cell::RefCell;

use zeroize::{Zeroize, Zeroizing};

use crate::call::Table;

#[derive(Default)]
struct State {
    table: Table,
    input: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
}

thread_local! {
    // A module has one thread.
    static STATE: RefCell<State> = RefCell::default();
}

/// Makes room for the arguments of the next call; where to write them.
#[unsafe(no_mangle)]
extern "C" fn kms_input(len: u32) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        state.input = Zeroizing::new(vec![0; usize::try_from(len).unwrap_or(0)]);
        state.input.as_mut_ptr()
    })
}

/// Calls; 0, or 1 if the output is an error.
#[unsafe(no_mangle)]
extern "C" fn kms_call(call: u32, on: u32) -> u32 {
    STATE.with_borrow_mut(|state| {
        let result = state.table.call(call, on, &state.input);
        // There may be a passphrase in it.
        state.input.zeroize();
        match result {
            Ok(output) => {
                state.output = output;
                0
            }
            Err(failure) => {
                state.output = Zeroizing::new(failure.to_json().to_string().into_bytes());
                1
            }
        }
    })
}

/// Where the output stands until the next call.
#[unsafe(no_mangle)]
extern "C" fn kms_output() -> *const u8 {
    STATE.with_borrow(|state| state.output.as_ptr())
}

/// How long it is.
#[unsafe(no_mangle)]
extern "C" fn kms_output_len() -> u32 {
    STATE.with_borrow(|state| u32::try_from(state.output.len()).unwrap_or(u32::MAX))
}
