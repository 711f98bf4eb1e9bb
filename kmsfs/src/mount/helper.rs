//! `mount.fuse.kmsfs STORE DIR -o …`, called by mount(8) from fstab, and the
//! bare `kmsfs STORE DIR -o …` of mount.fuse(8) (CLI 2.4).

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use super::{Manner, Plan, Target, Unknown};
use crate::failure::{Exit, Failure};

/// What mount(8) asked for.
#[derive(Debug, Default, Eq, PartialEq)]
struct Request {
    paths: Vec<PathBuf>,
    options: Vec<String>,
    sloppy: bool,
    fake: bool,
    foreground: bool,
}

/// Runs the helper.
pub fn run(args: &[OsString]) -> Result<ExitCode, Failure> {
    let request = parse(args.get(1..).unwrap_or_default())?;
    let unknown = if request.sloppy {
        Unknown::Ignore
    } else {
        Unknown::Refuse
    };
    let plan = Plan::new(
        Target::resolve(&request.paths)?,
        request.options,
        unknown,
        None,
        None,
    )?;
    if request.fake {
        return Ok(ExitCode::SUCCESS);
    }
    let manner = if request.foreground {
        Manner::Foreground
    } else {
        Manner::Background
    };
    super::run(&plan, manner, &mut |_| {})?;
    Ok(ExitCode::SUCCESS)
}

fn parse(args: &[OsString]) -> Result<Request, Failure> {
    let mut request = Request::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-o") => request.add_options(args.next())?,
            // The file system type and the namespace are mount's business.
            Some("-t" | "-N") => {
                args.next();
            }
            Some("-r") => request.options.push("ro".into()),
            Some("-w") => request.options.push("rw".into()),
            Some("-s") => request.sloppy = true,
            Some("-f") => request.fake = true,
            Some("--foreground" | "-d") => request.foreground = true,
            Some("-n" | "-v" | "--") => {}
            Some(text) if text.starts_with("-o") => {
                request.add_options(Some(&OsString::from(&text[2..])))?;
            }
            Some(text) if text.starts_with('-') && text.len() > 1 => {
                return Err(wrong(&format!("There is no option {text}.")));
            }
            _ => request.paths.push(PathBuf::from(arg)),
        }
    }
    match request.paths.len() {
        2 => Ok(request),
        _ => Err(wrong("A store and a mount point are needed.")),
    }
}

impl Request {
    fn add_options(&mut self, list: Option<&OsString>) -> Result<(), Failure> {
        let list = list
            .map(OsString::as_os_str)
            .and_then(OsStr::to_str)
            .ok_or_else(|| wrong("-o is followed by options."))?;
        self.options.extend(list.split(',').map(str::to_owned));
        Ok(())
    }
}

fn wrong(what: &str) -> Failure {
    Failure::new(Exit::Usage, what).now("mount -t fuse.kmsfs STORE DIR -o OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, Failure> {
        let args: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        super::parse(&args)
    }

    #[test]
    fn the_call_of_mount_is_understood() {
        let request =
            parse("/s.kmsfs /mnt -s -n -v -o rw,nosuid,nodev,nofail,identity=/i").unwrap();
        assert_eq!(request.paths.len(), 2);
        assert!(request.sloppy && !request.fake);
        assert!(request.options.contains(&"identity=/i".to_owned()));
        assert_eq!(parse("/s /m -oro").unwrap().options, ["ro"]);
    }

    #[test]
    fn anything_else_is_a_wrong_invocation() {
        for text in ["", "/s", "/s /m /x", "/s /m -o", "/s /m -z"] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit.mount_code(), 1, "{text}");
        }
    }
}
