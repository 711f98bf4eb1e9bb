//! What is looked at before a credential is (API §4.1): addresses, `Host`, and whatever shows that a browser asks on
//! behalf of a page.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;

/// Addresses that may speak: one, or a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

/// Who may speak, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Besides the machine itself.
    pub allowed: Vec<Subnet>,
    /// Names for this machine besides the usual ones.
    pub hosts: Vec<String>,
}

impl Subnet {
    /// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        };
        Self { address, bits }.canonical()
    }

    /// Whoever comes by IPv4 is known by that address, also where both are listened to as one.
    fn canonical(self) -> Option<Self> {
        let (IpAddr::V6(_), address @ IpAddr::V4(_)) = (self.address, self.address.to_canonical())
        else {
            return Some(self);
        };
        let bits = self.bits.checked_sub(96)?;
        Some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((mine, mine_v4), (theirs, theirs_v4)) = (number(self.address), number(other));
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.bits))
            .unwrap_or(0);
        mine_v4 == theirs_v4 && mine & mask == theirs & mask
    }
}

impl Gate {
    /// Whether somebody at this address may speak.
    #[must_use]
    pub fn lets_in(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.allowed.iter().any(|it| it.contains(address))
    }

    /// Why a request is refused whoever sends it. `port` is the one listened on; nothing: a Unix socket.
    #[must_use]
    pub fn refuses(
        &self,
        asked: &Uri,
        headers: &HeaderMap,
        port: Option<u16>,
    ) -> Option<&'static str> {
        if headers.contains_key(ORIGIN) {
            return Some("Requests on behalf of web pages are refused");
        }
        let site = headers.get_all("sec-fetch-site").iter();
        let foreign =
            |value: &hyper::header::HeaderValue| value != "none" && value != "same-origin";
        if site.into_iter().any(foreign) {
            return Some("Requests on behalf of web pages are refused");
        }
        let port = port?;
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        // As one asks a proxy: then that is the host, whatever the header says.
        let asked = asked.authority().map_or(host, Authority::as_str);
        let is_own = self.is_own(host, port) && self.is_own(asked, port);
        (!is_own).then_some("This is not the host that was asked for")
    }

    /// A name that leads here by right, and not because somebody's name server says so.
    fn is_own(&self, host: &str, port: u16) -> bool {
        let (name, rest) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => (format!("[{address}]"), rest),
            None => match host.find(':') {
                Some(at) => (host[..at].to_owned(), &host[at..]),
                None => (host.to_owned(), ""),
            },
        };
        let port_fits = rest.is_empty() || rest == format!(":{port}");
        let name = name.to_ascii_lowercase();
        let usual = ["localhost", "127.0.0.1", "[::1]"].contains(&name.as_str());
        let named = |known: &String| known.eq_ignore_ascii_case(&name);
        port_fits && (usual || self.hosts.iter().any(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        let net = |text: &str| Subnet::parse(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(net("10.1.0.0/16").contains(ip("10.1.2.3")));
        assert!(!net("10.1.0.0/16").contains(ip("10.2.2.3")));
        assert!(net("0.0.0.0/0").contains(ip("10.2.2.3")));
        assert!(!net("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(net("2001:db8::/32").contains(ip("2001:db8:1::1")));
        assert!(net("10.1.2.3").contains(ip("10.1.2.3")));
        assert!(!net("10.1.2.3").contains(ip("10.1.2.4")));
        assert!(net("::ffff:10.1.0.0/112").contains(ip("10.1.2.3")));
        assert!(!net("::ffff:10.1.0.0/112").contains(ip("10.2.2.3")));
        for text in [
            "",
            "10.1.2",
            "10.1.2.3/33",
            "10.1.2.3/x",
            "10.1.2.3/",
            "::/129",
            "::ffff:10.1.0.0/64",
        ] {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
        assert!(Gate::default().lets_in(ip("::ffff:127.0.0.1")));
        assert!(!Gate::default().lets_in(ip("192.0.2.1")));
    }

    #[test]
    fn a_host_is_one_of_ours_with_our_port_or_none() {
        let gate = Gate {
            hosts: vec!["kms.example".to_owned()],
            ..Gate::default()
        };
        let refuses = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            let usual = Uri::from_static("/");
            gate.refuses(&usual, &headers, Some(9470)).is_some()
        };
        for host in [
            "localhost",
            "LOCALHOST:9470",
            "127.0.0.1:9470",
            "[::1]",
            "[::1]:9470",
            "kms.example",
        ] {
            assert!(!refuses(&[("host", host)]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost:80",
            "127.0.0.1.evil.example",
            "localhost.",
            "[::2]:9470",
            "127.0.0.1:9470:1",
            "user@localhost",
        ] {
            assert!(refuses(&[("host", host)]), "{host}");
        }
        assert!(refuses(&[]));
        assert!(refuses(&[("host", "localhost"), ("host", "evil.example")]));
        assert!(refuses(&[("host", "localhost"), ("origin", "null")]));
        assert!(refuses(&[
            ("host", "localhost"),
            ("origin", "http://localhost:9470")
        ]));
        assert!(refuses(&[
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(refuses(&[
            ("host", "localhost"),
            ("sec-fetch-site", "same-site")
        ]));
        assert!(!refuses(&[
            ("host", "localhost"),
            ("sec-fetch-site", "none")
        ]));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        let asked = |uri| gate.refuses(&Uri::from_static(uri), &headers, Some(9470));
        assert_eq!(asked("http://localhost:9470/"), None);
        assert!(asked("http://evil.example/").is_some());
        assert!(asked("http://evil@localhost/").is_some());
    }
}
