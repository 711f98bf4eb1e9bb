//! `kmsfs umount` (CLI 2.3).

use std::process::ExitCode;

use serde_json::json;

use super::{Common, UmountArgs, output};
use crate::{
    control::Client,
    failure::{Exit, Failure},
    home::Home,
    mount::{
        running,
        unmount::{How, run as unmount},
    },
};

pub(super) fn run(args: &UmountArgs, common: &Common) -> Result<ExitCode, Failure> {
    let entry = running::entry(&args.dir)?;
    let home = Home::of_process()?;
    // Connected before, so that the end of the process can be seen.
    let process = Client::connect(&home.runtime, &entry.point);
    let how = if args.lazy { How::Lazy } else { How::Clean };
    unmount(&entry.point, how)?;
    let ended = match process {
        Some(process) if !args.lazy => process.wait_for_end(running::PATIENCE),
        _ => true,
    };
    if !ended {
        return Err(Failure::new(
            Exit::TempFail,
            "Unmounted, but its process is still writing.",
        )
        .why("Everything you see as written is in the store or its journal.")
        .now("Wait for it to end before you remove the disk."));
    }
    let text = if args.lazy {
        "Detached. It ends when the last open file is closed."
    } else {
        "Unmounted. Keys forgotten."
    };
    output::result(
        common,
        &json!({ "unmounted": entry.point.to_string_lossy() }),
        text,
    );
    Ok(ExitCode::SUCCESS)
}
