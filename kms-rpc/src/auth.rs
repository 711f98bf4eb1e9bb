//! Who may call what (API §4.2): the cookie, `rpcauth`, the whitelist.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::Rng;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The name under which the cookie is presented.
pub const COOKIE_USER: &str = "__cookie__";
/// The cookie's file in the data directory.
pub const COOKIE_FILE: &str = ".cookie";

/// Why an option about credentials is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// `rpcauth` is not `USER:SALT$HASH`.
    #[error("rpcauth must be USER:SALT$HASH, as kms-cli -rpcauth USER makes it")]
    Malformed,
    /// `rpcwhitelist` is not `USER:method,…`.
    #[error("rpcwhitelist must be USER:method,…")]
    Whitelist,
}

/// A line of `rpcauth`.
struct Password {
    user: String,
    salt: String,
    hash: Vec<u8>,
}

/// All credentials that are accepted, and what they allow.
#[derive(Default)]
pub struct Credentials {
    cookie: Option<Zeroizing<String>>,
    passwords: Vec<Password>,
    allowed: HashMap<String, Vec<String>>,
    deny_others: bool,
}

/// Somebody who has shown a credential.
pub struct User {
    name: String,
    /// Nothing: everything.
    allowed: Option<Vec<String>>,
}

impl User {
    /// The user of this machine who is at the other end of a Unix socket.
    #[must_use]
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            allowed: None,
        }
    }

    /// The name, for the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the user may call a method.
    #[must_use]
    pub fn may_call(&self, method: &str) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        allowed.iter().any(|it| it == method)
    }
}

impl Credentials {
    /// Accepts what `rpcauth` lines say.
    ///
    /// # Errors
    /// One of them says nothing.
    pub fn add_passwords(&mut self, lines: &[String]) -> Result<(), AuthError> {
        for line in lines {
            let (user, rest) = line.split_once(':').ok_or(AuthError::Malformed)?;
            let (salt, hash) = rest.split_once('$').ok_or(AuthError::Malformed)?;
            let hash = HEXLOWER.decode(hash.as_bytes());
            let hash = hash.map_err(|_| AuthError::Malformed)?;
            if user.is_empty() || salt.is_empty() || hash.len() != 32 {
                return Err(AuthError::Malformed);
            }
            self.passwords.push(Password {
                user: user.to_owned(),
                salt: salt.to_owned(),
                hash,
            });
        }
        Ok(())
    }

    /// Limits users to methods.
    ///
    /// # Errors
    /// A line that says nothing.
    pub fn restrict(&mut self, lines: &[String], deny_others: bool) -> Result<(), AuthError> {
        self.deny_others = deny_others;
        for line in lines {
            let (user, methods) = line.split_once(':').ok_or(AuthError::Whitelist)?;
            let list = methods
                .split(',')
                .map(str::trim)
                .filter(|it| !it.is_empty());
            let list: Vec<String> = list.map(str::to_owned).collect();
            match self.allowed.get_mut(user) {
                // Two lists allow what is on both.
                Some(before) => before.retain(|it| list.contains(it)),
                None => drop(self.allowed.insert(user.to_owned(), list)),
            }
        }
        Ok(())
    }

    /// Accepts a new cookie, and writes it where only its owner reads it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn make_cookie(&mut self, path: &Path) -> io::Result<Cookie> {
        let mut bytes = Zeroizing::new([0; 32]);
        crate::random().fill_bytes(bytes.as_mut());
        let secret = Zeroizing::new(HEXLOWER.encode(bytes.as_ref()));
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(format!("{COOKIE_USER}:{}", secret.as_str()).as_bytes())?;
        fs::rename(&beside, path)?;
        self.cookie = Some(secret);
        Ok(Cookie(path.to_owned()))
    }

    /// Whether anybody but the cookie's reader can get in.
    #[must_use]
    pub fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Who it is, by the header `Authorization`. Takes the same time whoever it is.
    #[must_use]
    pub fn check(&self, header: Option<&str>) -> Option<User> {
        let encoded = header?.strip_prefix("Basic ")?.trim();
        let decoded = Zeroizing::new(BASE64.decode(encoded.as_bytes()).ok()?);
        let text = std::str::from_utf8(&decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        let mut good = Choice::from(0);
        if let Some(cookie) = &self.cookie {
            good |= user.as_bytes().ct_eq(COOKIE_USER.as_bytes())
                & password.as_bytes().ct_eq(cookie.as_bytes());
        }
        for known in &self.passwords {
            let hash = hash(&known.salt, password);
            good |= user.as_bytes().ct_eq(known.user.as_bytes()) & hash.ct_eq(&known.hash);
        }
        bool::from(good).then(|| self.user(user))
    }

    fn user(&self, name: &str) -> User {
        let allowed = self.allowed.get(name).cloned();
        User {
            name: name.to_owned(),
            allowed: allowed.or(self.deny_others.then(Vec::new)),
        }
    }
}

/// A cookie in its file; gone when it is dropped.
pub struct Cookie(PathBuf);

impl Drop for Cookie {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A new line for `rpcauth`, and its password.
#[must_use]
pub fn generate(user: &str) -> (String, Zeroizing<String>) {
    let (mut salt, mut password) = ([0; 16], Zeroizing::new([0; 32]));
    crate::random().fill_bytes(&mut salt);
    crate::random().fill_bytes(password.as_mut());
    let salt = HEXLOWER.encode(&salt);
    let password = Zeroizing::new(BASE64URL_NOPAD.encode(password.as_ref()));
    let hash = HEXLOWER.encode(&hash(&salt, &password));
    (format!("{user}:{salt}${hash}"), password)
}

/// Reads a cookie that a daemon has written.
///
/// # Errors
/// It cannot be read.
pub fn read_cookie(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    io::Read::read_to_string(&mut io::Read::take(File::open(path)?, 4096), &mut text)?;
    Ok(text)
}

fn hash(salt: &str, password: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes());
    let mut mac = mac.expect("HMAC takes keys of any length");
    mac.update(password.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64.encode(text.as_bytes()))
    }

    #[test]
    fn a_password_that_was_generated_is_accepted_and_no_other() {
        let (line, password) = generate("alice");
        let mut credentials = Credentials::default();
        credentials.add_passwords(&[line]).unwrap();
        let check = |text: &str| credentials.check(Some(&basic(text))).is_some();
        assert!(check(&format!("alice:{}", password.as_str())));
        assert!(!check(&format!("bob:{}", password.as_str())));
        assert!(!check("alice:"));
        assert!(!check("alice"));
        assert!(credentials.check(None).is_none());
        assert!(credentials.check(Some("Basic !")).is_none());
        assert!(credentials.check(Some("Bearer abc")).is_none());
    }

    #[test]
    fn a_line_that_another_program_has_computed_is_understood() {
        // Python: hmac.new(salt, b"test", sha256).
        let line = "u:5d6e4a5a5f4f0a3b8d6f3b2c1a0f9e8d$\
            d570f7bc821eefba831b654625550612c197331d9973232d16d46fca15c7184f";
        let mut credentials = Credentials::default();
        credentials.add_passwords(&[line.to_owned()]).unwrap();
        assert!(credentials.check(Some(&basic("u:test"))).is_some());
        assert!(credentials.check(Some(&basic("u:Test"))).is_none());
    }

    #[test]
    fn a_line_that_says_nothing_is_refused() {
        let mut credentials = Credentials::default();
        for line in [
            "",
            "alice",
            "alice:salt",
            "alice:salt$",
            "alice:salt$00",
            ":s$00",
        ] {
            assert!(
                credentials.add_passwords(&[line.to_owned()]).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_whitelist_is_all_a_user_may_call() {
        let mut credentials = Credentials::default();
        let lines = ["a:help,uptime".to_owned(), "a:uptime".to_owned()];
        credentials.restrict(&lines, false).unwrap();
        assert!(credentials.user("a").may_call("uptime"));
        assert!(!credentials.user("a").may_call("help"));
        assert!(credentials.user("b").may_call("help"));
        credentials.restrict(&[], true).unwrap();
        assert!(!credentials.user("b").may_call("help"));
    }

    #[test]
    fn a_cookie_is_for_its_owner_alone_and_goes_with_the_daemon() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(COOKIE_FILE);
        let mut credentials = Credentials::default();
        let cookie = credentials.make_cookie(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = read_cookie(&path).unwrap();
        assert_eq!(text.len(), COOKIE_USER.len() + 1 + 64);
        assert!(credentials.check(Some(&basic(&text))).is_some());
        drop(cookie);
        assert!(!path.exists());
    }
}
