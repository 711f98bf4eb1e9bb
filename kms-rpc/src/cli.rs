//! `kms-cli`: one call of `kmsd` from the command line, as bitcoin-cli does it (API §4.6).

mod http;

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use self::http::{CallError, Caller, Credential, To};
use crate::auth::{COOKIE_FILE, COOKIE_USER, generate};
use crate::method::{self, Method};
use crate::options::{CLI, CONF_FILE, DEFAULT_PORT, Options, help};

const USAGE: &str = "Usage: kms-cli [-option[=value]]… METHOD [argument]…\n       kms-cli [-option[=value]]… help [METHOD]";
/// What the daemon says as long as it is not ready.
const WARMING_UP: i64 = -28;

/// Why there was no answer.
enum Failure {
    /// The daemon said no.
    Refused { code: i64, message: String },
    /// Nobody answers there.
    Unreachable(String),
    /// What was typed cannot be a call.
    Usage(String),
}

/// Runs `kms-cli`.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(|arg| arg.trim_start_matches('-')) {
        Some("help" | "h" | "?") if args[0].starts_with('-') => {
            print!("{}", help(USAGE, CLI));
            return ExitCode::SUCCESS;
        }
        Some("man") if args[0].starts_with('-') => {
            print!("{}", crate::manual::kms_cli());
            return ExitCode::SUCCESS;
        }
        Some("version") if args[0].starts_with('-') => {
            println!("kms-cli {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let (code, lines) = match run(args) {
        Ok(text) => {
            let mut out = io::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return ExitCode::from(u8::from(written.is_err()));
        }
        Err(Failure::Refused { code, message }) => {
            let low = u8::try_from(code.unsigned_abs() & 0xff).unwrap_or(1);
            let lines = format!("error code: {code}\nerror message:\n{message}");
            (low.max(1), lines)
        }
        Err(Failure::Unreachable(why) | Failure::Usage(why)) => (1, format!("error: {why}")),
    };
    eprintln!("{lines}");
    ExitCode::from(code)
}

fn run(args: Vec<String>) -> Result<String, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let (mut options, mut words) =
        Options::of_args(CLI, args.into_iter()).map_err(|e| usage(&e))?;
    if let Some(user) = options.text("rpcauth") {
        let (line, password) = generate(user);
        return Ok(format!(
            "String to be appended to kmsd.conf:\nrpcauth={line}\nYour password:\n{}\n",
            password.as_str()
        ));
    }
    let places = options.places().map_err(|e| usage(&e))?;
    let conf = options.path("conf", &places.dir, CONF_FILE);
    options.add_file(&conf).map_err(|e| usage(&e))?;
    let mut input = io::stdin().lock();
    let password = match options.is_set("stdinrpcpass", false) {
        true => Some(line(&mut input).map_err(|e| usage(&e))?.unwrap_or_default()),
        false => None,
    };
    if options.is_set("stdinpass", false) {
        let passphrase = line(&mut input).map_err(|e| usage(&e))?.unwrap_or_default();
        words.insert(words.len().min(1), passphrase.to_string());
    }
    if options.is_set("stdin", false) {
        while let Some(word) = line(&mut input).map_err(|e| usage(&e))? {
            words.push(word.to_string());
        }
    }
    let caller = caller(&options, &places.dir, password).map_err(|e| usage(&e))?;
    if options.is_set("getinfo", false) {
        let info = call(&options, &caller, "getinfo", json!([]))?;
        let network = call(&options, &caller, "getnetworkinfo", json!([]))?;
        return Ok(summary(&info, &network));
    }
    let mut words = words.into_iter();
    let name = words.next();
    let name = name.ok_or_else(|| Failure::Usage(format!("too few parameters\n{USAGE}")))?;
    let words: Vec<String> = words.collect();
    let params = match options.is_set("named", false) {
        true => named(method::find(&name), words),
        false => in_order(method::find(&name), words),
    };
    let params = params.map_err(Failure::Usage)?;
    Ok(printed(&call(&options, &caller, &name, params)?))
}

/// Calls, and goes on trying while the daemon is not there or not ready, if that was asked for.
fn call(options: &Options, caller: &Caller, name: &str, params: Value) -> Result<Value, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let within = options.number("rpcwaittimeout", 0, 0..=u64::from(u32::MAX));
    let within = within.map_err(|error| usage(&error))?;
    let begun = Instant::now();
    loop {
        let result = call_once(caller, name, &params);
        let may_pass = matches!(
            result,
            Err(Failure::Unreachable(_)
                | Failure::Refused {
                    code: WARMING_UP,
                    ..
                })
        );
        let is_over = within > 0 && begun.elapsed() >= Duration::from_secs(within);
        if !may_pass || !options.is_set("rpcwait", false) || is_over {
            return result;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn call_once(caller: &Caller, name: &str, params: &Value) -> Result<Value, Failure> {
    let request = json!({"method": name, "params": params, "id": 1});
    let (status, body) = caller.post(&request.to_string()).map_err(|error| {
        let hint = match error {
            CallError::NoCookie => "\nIs kmsd running, and is this its -datadir?",
            CallError::Unreachable(_) => {
                "\nMake sure kmsd is running and that this is its port. kms-cli -help"
            }
            CallError::Broken(_) => "",
        };
        Failure::Unreachable(format!("{error}{hint}"))
    })?;
    let Ok(answer) = serde_json::from_slice::<Value>(&body) else {
        let said = String::from_utf8_lossy(&body);
        let hint = match status {
            401 => "\nIncorrect rpcuser or rpcpassword, or an old cookie",
            _ => "",
        };
        return Err(Failure::Usage(format!(
            "server returned HTTP {status}: {}{hint}",
            said.trim()
        )));
    };
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer["result"].clone());
    }
    Err(Failure::Refused {
        code: error["code"].as_i64().unwrap_or(-1),
        message: error["message"].as_str().unwrap_or_default().to_owned(),
    })
}

fn caller(
    options: &Options,
    dir: &Path,
    password: Option<Zeroizing<String>>,
) -> Result<Caller, String> {
    let timeout = options.number("rpcclienttimeout", 900, 0..=u64::from(u32::MAX));
    let timeout = timeout.map_err(|error| error.to_string())?;
    let timeout = (timeout > 0).then(|| Duration::from_secs(timeout));
    if let Some(path) = options.text("rpcunix") {
        return Ok(Caller::new(
            To::Unix(dir.join(path)),
            Credential::Local,
            timeout,
        ));
    }
    let port = options.number("rpcport", DEFAULT_PORT.into(), 1..=65_535);
    let port = port.map_err(|error| error.to_string())?;
    let host = options.text("rpcconnect").unwrap_or("127.0.0.1");
    let host = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let given = password.or(options
        .text("rpcpassword")
        .map(|text| Zeroizing::new(text.to_owned())));
    let credential = match given {
        Some(password) => {
            let user = options.text("rpcuser").unwrap_or(COOKIE_USER);
            Credential::Given(Zeroizing::new(format!("{user}:{}", password.as_str())))
        }
        None => Credential::Cookie(options.path("rpccookiefile", dir, COOKIE_FILE)),
    };
    Ok(Caller::new(
        To::Net(format!("{host}:{port}")),
        credential,
        timeout,
    ))
}

/// Words in the order of the parameters: text as it is, everything else as JSON.
fn in_order(method: Option<&Method>, words: Vec<String>) -> Result<Value, String> {
    let values = words.into_iter().enumerate().map(|(at, word)| {
        let param = method.and_then(|method| method.params.get(at));
        converted(param.is_none_or(|param| param.kind.is_text()), word)
    });
    Ok(Value::Array(values.collect::<Result<_, _>>()?))
}

/// `name=value`; words without a name are leading arguments.
fn named(method: Option<&Method>, words: Vec<String>) -> Result<Value, String> {
    let (mut map, mut leading) = (Map::new(), Vec::new());
    for word in words {
        let param_of =
            |name: &str| method.and_then(|it| it.params.iter().find(|param| param.name == name));
        match word.split_once('=') {
            Some((name, value)) if method.is_none() || param_of(name).is_some() => {
                let is_text = param_of(name).is_none_or(|param| param.kind.is_text());
                if map.contains_key(name) {
                    return Err(method::doubled(name).to_string());
                }
                map.insert(name.to_owned(), converted(is_text, value.to_owned())?);
            }
            _ => {
                let param = method.and_then(|method| method.params.get(leading.len()));
                leading.push(converted(param.is_none_or(|it| it.kind.is_text()), word)?);
            }
        }
    }
    if !leading.is_empty() {
        map.insert("args".to_owned(), leading.into());
    }
    Ok(map.into())
}

fn converted(is_text: bool, word: String) -> Result<Value, String> {
    if is_text {
        return Ok(match word.as_str() {
            // The only way to leave out one in the middle.
            "null" => Value::Null,
            _ => Value::String(word),
        });
    }
    serde_json::from_str(&word).map_err(|_| format!("Error parsing JSON: {word}"))
}

/// A line without its end; nothing at the end of the input.
fn line(input: &mut impl BufRead) -> io::Result<Option<Zeroizing<String>>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    if input.read_line(&mut text)? == 0 {
        return Ok(None);
    }
    let kept = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(kept);
    Ok(Some(text))
}

fn printed(result: &Value) -> String {
    match result {
        Value::Null => String::new(),
        Value::String(text) => format!("{text}\n"),
        other => format!("{other:#}\n"),
    }
}

fn summary(info: &Value, network: &Value) -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: &Value| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        text.push_str(&format!("{name}: {value}\n"));
    };
    put("Version", &info["version"]);
    put("Network", &info["network"]);
    put("Ledger", &info["ledger"]);
    put("Height", &network["height"]);
    put("Nodes", &network["nodes"]);
    put("Answering", &network["answering"]);
    put("Threshold", &info["threshold"]);
    put("Identities", &info["identities"]);
    put("Unlocked", &info["unlocked"]);
    put("Uptime (s)", &info["uptime"]);
    text
}
