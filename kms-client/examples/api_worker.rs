//! Does what `scripts/bench api` asks for on standard input, a line of JSON each, and says what it took: the Rust side of
//! `bench/api/worker.py` and `worker.mjs`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kms_client::home::Home;
use kms_client::settings::Settings;
use kms_client::ticket::TicketText;
use kms_client::{Client, Keyring, Opening, Session, SessionConfig};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keyring = Keyring::new(Home::of_process()?);
    let (network, _) = Settings::of(keyring.home(), |name| std::env::var_os(name))?.resolve()?;
    let client = Client::connect(&network).await?;
    let secret = keyring.open("default", &std::env::var("PASSPHRASE")?)?;
    let me = Session::open(SessionConfig::new(keyring, Some(client)), secret)?;
    for line in io::stdin().lock().lines() {
        let said = answer(&me, &serde_json::from_str(&line?)?).await?;
        println!("{said}");
        io::stdout().flush()?;
    }
    Ok(())
}

async fn answer(me: &Session, asked: &Value) -> Result<Value, Box<dyn Error>> {
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let number = |name: &str| asked[name].as_u64().and_then(|it| usize::try_from(it).ok());
    let mut took = Vec::new();
    match text("op") {
        "bytes" => {
            let data = vec![7; number("size").unwrap_or_default()];
            let timer = Timer::start();
            let sealed = me.encrypt(&data, Default::default())?;
            took.push(timer.stop());
            let timer = Timer::start();
            let opened = me.decrypt(&sealed.bytes, Opening::Own).await?;
            took.push(timer.stop());
            assert!(*opened.data == data, "it came back as it was");
        }
        "files" => {
            let (plain, sealed, back) = (text("plain"), text("sealed"), text("back"));
            let (plain, sealed, back) = (Path::new(plain), Path::new(sealed), Path::new(back));
            let timer = Timer::start();
            me.encrypt_file(plain, sealed, Default::default()).await?;
            took.push(timer.stop());
            let timer = Timer::start();
            me.decrypt_file(sealed, back, Opening::Own).await?;
            took.push(timer.stop());
        }
        _ => {
            let ticket = TicketText::parse(text("ticket"))?;
            let sealed = std::fs::read(text("sealed"))?;
            for _ in 0..number("times").unwrap_or_default() {
                let timer = Timer::start();
                me.decrypt_key(&sealed, &ticket).await?;
                took.push(timer.stop());
            }
        }
    }
    Ok(json!(took))
}

/// Time on the wall and of the processors.
struct Timer(Instant, Duration);

impl Timer {
    fn start() -> Self {
        Self(Instant::now(), processor())
    }

    fn stop(self) -> [f64; 2] {
        let (wall, used) = (self.0.elapsed(), processor() - self.1);
        [wall.as_secs_f64(), used.as_secs_f64()]
    }
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, rest) = (time.tv_sec.cast_unsigned(), time.tv_nsec);
    Duration::new(seconds, u32::try_from(rest).unwrap_or_default())
}
