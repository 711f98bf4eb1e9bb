//! Answers requests for Umbral operations on standard input, one JSON object a line, with one JSON
//! object a line: for trying this crate against another implementation.
//!
//! Byte strings are lower-case hexadecimal in the "simple" encodings; `fmt`, if given, must say so. A
//! request that cannot be met is answered `{"error": "…"}`; whatever comes in, the program goes on.
//!
//! | `op` | fields | answer |
//! |---|---|---|
//! | `u` | | `u` |
//! | `keygen` | | `sk`, `pk` |
//! | `pubkey` | `sk` | `pk` |
//! | `derive` | `seed`, `label` | `sk` |
//! | `encrypt` | `pk`, `pt` | `capsule`, `ct` |
//! | `decrypt_original` | `sk`, `capsule`, `ct` | `pt` |
//! | `kfrags` | `sk`, `rpk`, `ssk`, `m`, `n`, `sign_d`, `sign_r` | `kfrags` |
//! | `verify_kfrag` | `kfrag`, `vk`, `pk`?, `rpk`? | `ok` |
//! | `reencrypt` | the same and `capsule` | `cfrag` |
//! | `verify_cfrag` | `cfrag`, `capsule`, `vk`, `pk`, `rpk` | `ok` |
//! | `decrypt` | `rsk`, `pk`, `vk`, `capsule`, `cfrags`, `ct` | `pt` |
#![expect(clippy::print_stdout, reason = "the answers go to standard output")]

use std::error::Error;
use std::io::{self, BufRead, Write};

use data_encoding::HEXLOWER;
use kms_crypto::key::{EcDelegatingKey, IdentitySecret, LedgerKey, PublicKey};
use kms_crypto::policy::Threshold;
use kms_crypto::umbral::{
    self, Capsule, CapsuleFrag, KeyFrag, Parties, SecretKeyFactory, SignedKeys, VerifiedKeyFrag,
};
use serde_json::{Value, json};

type Reply = Result<Value, Box<dyn Error>>;

fn main() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let reply = answer(&line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{reply}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn answer(line: &str) -> Reply {
    let request = Request(serde_json::from_str(line)?);
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    if let Some(format) = request.0.get("fmt").filter(|format| *format != "simple") {
        return Err(format!("the encoding {format} is not spoken here").into());
    }
    match request.text("op")? {
        "u" => Ok(json!({ "u": hex(&umbral::GENERATOR) })),
        "keygen" => {
            let key = EcDelegatingKey::generate(rng);
            Ok(json!({ "sk": hex(&*key.to_bytes()), "pk": hex(key.public().as_bytes()) }))
        }
        "pubkey" => {
            let key = EcDelegatingKey::from_bytes(&request.array("sk")?)?;
            Ok(json!({ "pk": hex(key.public().as_bytes()) }))
        }
        "derive" => {
            let factory = SecretKeyFactory::from_bytes(&request.array("seed")?);
            let key = factory.make_key(&request.bytes("label")?);
            Ok(json!({ "sk": hex(&*key.to_bytes()) }))
        }
        "encrypt" => {
            let (capsule, sealed) =
                umbral::encrypt(rng, &request.public("pk")?, &request.bytes("pt")?);
            Ok(json!({ "capsule": hex(&capsule.to_bytes()), "ct": hex(&sealed) }))
        }
        "decrypt_original" => {
            let key = EcDelegatingKey::from_bytes(&request.array("sk")?)?;
            let capsule = request.capsule()?;
            let opened = umbral::decrypt_original(&key, &capsule, &request.bytes("ct")?)?;
            Ok(json!({ "pt": hex(&opened) }))
        }
        "kfrags" => key_frags(&request),
        "verify_kfrag" => {
            request.verified_key_frag()?;
            Ok(json!({ "ok": true }))
        }
        "reencrypt" => {
            let frag = request.verified_key_frag()?;
            let answer = frag.reencrypt(rng, &request.capsule()?);
            Ok(json!({ "cfrag": hex(&answer.to_bytes()) }))
        }
        "verify_cfrag" => {
            let frag = CapsuleFrag::from_bytes(&request.bytes("cfrag")?)?;
            let parties = request.parties(request.public("rpk")?)?;
            frag.verify(&request.capsule()?, &parties)?;
            Ok(json!({ "ok": true }))
        }
        "decrypt" => decrypt(&request),
        other => Err(format!("there is no operation {other}").into()),
    }
}

fn key_frags(request: &Request) -> Reply {
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let key = EcDelegatingKey::from_bytes(&request.array("sk")?)?;
    let signer = LedgerKey::from_bytes(&request.array("ssk")?)?;
    let threshold = Threshold::new(request.number("m")?, request.number("n")?)?;
    let signed = SignedKeys {
        delegating: request.flag("sign_d"),
        receiving: request.flag("sign_r"),
    };
    let recipient = request.public("rpk")?;
    let frags = umbral::generate_key_frags(rng, &key, &recipient, &signer, threshold, signed)?;
    let frags: Vec<_> = frags.iter().map(|frag| hex(&frag.to_bytes())).collect();
    Ok(json!({ "kfrags": frags }))
}

fn decrypt(request: &Request) -> Reply {
    let recipient = IdentitySecret::from_bytes(&request.array("rsk")?)?;
    let parties = request.parties(recipient.public())?;
    let capsule = request.capsule()?;
    let texts = request.0.get("cfrags").and_then(Value::as_array);
    let mut frags = Vec::new();
    for text in texts.ok_or("cfrags is missing")? {
        let text = text.as_str().ok_or("a cfrag is no text")?;
        frags.push(CapsuleFrag::from_bytes(&HEXLOWER.decode(text.as_bytes())?)?);
    }
    let checked = CapsuleFrag::verify_all(frags, &capsule, &parties);
    let checked = checked.into_iter().collect::<Result<Vec<_>, _>>()?;
    let sealed = request.bytes("ct")?;
    let opened = umbral::decrypt_reencrypted(&recipient, &parties, &capsule, &checked, &sealed)?;
    Ok(json!({ "pt": hex(&opened) }))
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// One request's fields.
struct Request(Value);

impl Request {
    fn text(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        let field = self.0.get(name).and_then(Value::as_str);
        field.ok_or_else(|| format!("{name} is missing").into())
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(HEXLOWER.decode(self.text(name)?.as_bytes())?)
    }

    fn array<const N: usize>(&self, name: &str) -> Result<[u8; N], Box<dyn Error>> {
        let bytes = self.bytes(name)?;
        <[u8; N]>::try_from(bytes).map_err(|_| format!("{name} is not {N} bytes").into())
    }

    fn number(&self, name: &str) -> Result<u8, Box<dyn Error>> {
        let field = self.0.get(name).and_then(Value::as_u64);
        Ok(field
            .ok_or_else(|| format!("{name} is missing"))?
            .try_into()?)
    }

    /// A flag is set unless the request says otherwise.
    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(true)
    }

    fn public(&self, name: &str) -> Result<PublicKey, Box<dyn Error>> {
        Ok(PublicKey::from_bytes(&self.bytes(name)?)?)
    }

    fn public_if_given(&self, name: &str) -> Result<Option<PublicKey>, Box<dyn Error>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.public(name).map(Some),
        }
    }

    fn capsule(&self) -> Result<Capsule, Box<dyn Error>> {
        Ok(Capsule::from_bytes(&self.bytes("capsule")?)?)
    }

    fn parties(&self, receiving: PublicKey) -> Result<Parties, Box<dyn Error>> {
        Ok(Parties {
            verifying: self.public("vk")?,
            delegating: self.public("pk")?,
            receiving,
        })
    }

    fn verified_key_frag(&self) -> Result<VerifiedKeyFrag, Box<dyn Error>> {
        let frag = KeyFrag::from_bytes(&self.bytes("kfrag")?)?;
        let (delegating, receiving) = (self.public_if_given("pk")?, self.public_if_given("rpk")?);
        let verifying = self.public("vk")?;
        Ok(frag.verify(&verifying, delegating.as_ref(), receiving.as_ref())?)
    }
}
