//! The way to an endpoint through an HTTP proxy.
//!
//! Owns: [`Proxies`], what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (or the same in lower case) say, and [`Route`], the
//! connector that follows them: a CONNECT tunnel for `https`, the absolute form of requests for `http`.
//!
//! Invariants:
//! - A loopback address is never asked of a proxy: it would be the proxy's own.
//! - A proxy's password is in no error, no log and no `Debug`.

use super::environment::Environment;
use aws_smithy_http_client::proxy::ProxyConfig;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which proxy a destination is reached through.
#[derive(Clone)]
pub(crate) struct Proxies {
    matcher: Arc<Matcher>,
    /// The one for TLS, which may hold a password, and whom none is for.
    tls: Option<String>,
    none_for: String,
}

impl Proxies {
    /// What the variables say. Errors: one that is no proxy's URL, or another kind of proxy's; a sentence without the value, which
    /// may hold a password.
    pub fn of(environment: Environment<'_>) -> Result<Self, String> {
        let mut values = [const { String::new() }; 4];
        for (value, name) in values.iter_mut().zip(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]) {
            let found = environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase()));
            *value = found.unwrap_or_default();
            if name != "NO_PROXY" && !value.is_empty() && !is_http_proxy(value) {
                return Err(format!(
                    "{name} is not the URL of an HTTP proxy, which is like http://HOST:PORT"
                ));
            }
        }
        let [http, https, all, no] = values;
        let tls = [&https, &all].into_iter().find(|value| !value.is_empty()).map(|value| with_scheme(value));
        let none_for = format!("{no},localhost,127.0.0.0/8,::1");
        let matcher = Matcher::builder().http(http).https(https).all(all).no(no).build();
        Ok(Self { matcher: Arc::new(matcher), tls, none_for })
    }

    /// The same for the AWS library's client, and for TLS alone: so the services of credentials are reached, but for those of machines and
    /// containers, which no proxy can reach for us. Errors: a sentence without the value.
    pub fn for_tls_alone(&self) -> Result<ProxyConfig, String> {
        let Some(proxy) = &self.tls else { return Ok(ProxyConfig::disabled()) };
        let config = ProxyConfig::https(proxy.as_str())
            .map_err(|_| "HTTPS_PROXY is not the URL of an HTTP proxy, which is like http://HOST:PORT")?;
        Ok(config.no_proxy(&self.none_for))
    }

    fn to(&self, destination: &Uri) -> Option<Intercept> {
        let host = destination.host()?.trim_matches(['[', ']']);
        // RFC 6761, section 6.3, has all names below `localhost` lead there.
        let is_named = host == "localhost" || host.ends_with(".localhost");
        let is_loopback = is_named || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if is_loopback { None } else { self.matcher.intercept(destination) }
    }

    /// What a request that is not tunnelled must carry for its proxy.
    pub fn authorization(&self, destination: &Uri) -> Option<HeaderValue> {
        if is_tls(destination) {
            return None;
        }
        self.to(destination)?.basic_auth().cloned()
    }
}

fn with_scheme(value: &str) -> String {
    if value.contains("://") { value.to_owned() } else { format!("http://{value}") }
}

fn is_http_proxy(value: &str) -> bool {
    with_scheme(value)
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
}

fn is_tls(destination: &Uri) -> bool {
    destination.scheme_str() == Some("https")
}

/// Opens connections to destinations or to their proxies.
#[derive(Clone)]
pub(crate) struct Route {
    pub http: HttpConnector,
    pub proxies: Proxies,
}

impl Service<Uri> for Route {
    type Response = Routed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Routed, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.to(&destination) else {
            let connecting = self.http.call(destination);
            return Box::pin(async move { Ok(Routed { stream: connecting.await?, to_proxy: false }) });
        };
        let address = proxy.uri().clone();
        let explain = {
            let address = address.clone();
            move |cause: BoxError| -> BoxError {
                format!("through the proxy {address}: {}", super::failure::innermost(cause.as_ref())).into()
            }
        };
        if !is_tls(&destination) {
            let connecting = self.http.call(address);
            return Box::pin(async move {
                let stream = connecting.await.map_err(|err| explain(err.into()))?;
                Ok(Routed { stream, to_proxy: true })
            });
        }
        let mut tunnel = Tunnel::new(address, self.http.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(destination);
        Box::pin(async move {
            let stream = connecting.await.map_err(|err| explain(err.into()))?;
            Ok(Routed { stream, to_proxy: false })
        })
    }
}

/// A connection, which knows whether it ends at a proxy that wants to be told where requests go.
pub(crate) struct Routed {
    stream: TokioIo<TcpStream>,
    to_proxy: bool,
}

impl Connection for Routed {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.to_proxy)
    }
}

impl Read for Routed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Routed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CallerVariables;

    fn proxies(vars: &[(&str, &str)]) -> Result<Proxies, String> {
        let caller =
            CallerVariables(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        Proxies::of(Environment(Some(&caller)))
    }

    fn to(proxies: &Proxies, destination: &str) -> Option<String> {
        let proxy = proxies.to(&destination.parse().unwrap())?;
        Some(proxy.uri().to_string())
    }

    #[test]
    fn variables_say_which_proxy_and_for_whom_none() {
        let set = proxies(&[
            ("HTTPS_PROXY", "http://secure:3128"),
            ("http_proxy", "user:pass@plain:8080"),
            ("NO_PROXY", "minio.internal,10.0.0.0/8"),
        ])
        .unwrap();
        assert_eq!(to(&set, "https://s3.amazonaws.com/").as_deref(), Some("http://secure:3128/"));
        assert_eq!(to(&set, "http://s3.example.com/").as_deref(), Some("http://plain:8080/"));
        for direct in [
            "https://minio.internal/",
            "http://10.1.2.3:9000/",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://localhost/",
            "http://bucket.localhost:9000/",
        ] {
            assert_eq!(to(&set, direct), None, "{direct}");
        }
        let header = set.authorization(&"http://s3.example.com/".parse().unwrap()).unwrap();
        assert_eq!(header, "Basic dXNlcjpwYXNz");
        assert!(set.authorization(&"https://s3.amazonaws.com/".parse().unwrap()).is_none());
        assert_eq!(to(&proxies(&[]).unwrap(), "https://s3.amazonaws.com/"), None);
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_password() {
        for value in ["socks5://user:secret@h:1080", "https://user:secret@h", "http://user:secret@"] {
            let refused = proxies(&[("HTTPS_PROXY", value)]).err().unwrap();
            assert!(refused.contains("HTTPS_PROXY") && !refused.contains("secret"), "{refused}");
        }
    }
}
