//! `kmsfs mount` (CLI 2).

use std::process::ExitCode;

use super::{Common, MountArgs, output};
use crate::{
    failure::Failure,
    mount::{self, Manner, Plan, Target, Unknown},
};

pub(super) fn run(args: &MountArgs, common: &Common) -> Result<ExitCode, Failure> {
    let unknown = if args.sloppy {
        Unknown::Ignore
    } else {
        Unknown::Refuse
    };
    let manner = match (args.handover, args.foreground) {
        (true, _) => Manner::Handover,
        (false, true) => Manner::Foreground,
        (false, false) => Manner::Background,
    };
    let plan = Plan::new(
        Target::resolve(&args.paths)?,
        args.options.clone(),
        unknown,
        common.identity.clone(),
        common.passfile.clone(),
    )?;
    mount::run(&plan, manner, &mut |mounted| {
        output::result(common, &serde_json::json!(mounted), &mounted.sentence());
        if let (Some(warning), false) = (&mounted.warning, args.handover) {
            output::warning(warning);
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
