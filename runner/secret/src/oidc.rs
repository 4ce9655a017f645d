//! `oidc:`: the CI says who runs this with a token of its own, and an endpoint gives a secret for it (RFC 8693, token exchange).
//!
//! The token comes from where `token` says, or from GitHub Actions if nothing is said there. GitLab's `id_tokens` are variables
//! (`token = "env:NAME"`), Buildkite's come from a program (`token = "cmd:buildkite-agent oidc request-token --audience …"`).

use std::sync::Arc;

use pipeline::plan::Secret;
use zeroize::Zeroizing;

use crate::mask::Mask;
use crate::provider::{Answer, Client, Fetched, Machine, Provider, Request, Response, Why, field, plain, shown};
use crate::value::{Value, is_unreserved, percent};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(crate) struct Exchange {
    endpoint: String,
    audience: Option<String>,
    scope: Option<String>,
    token: Token,
    client: Arc<dyn Client>,
    mask: Arc<Mask>,
}

enum Token {
    From(Box<dyn Provider>),
    GitHub { env: fn(&str) -> Option<std::ffi::OsString> },
}

impl Exchange {
    pub(crate) fn new(endpoint: &str, secret: &Secret, machine: &Machine, mask: &Arc<Mask>) -> Exchange {
        Exchange {
            endpoint: endpoint.to_owned(),
            audience: secret.audience.clone(),
            scope: secret.scope.clone(),
            token: match &secret.token {
                Some(from) => Token::From(plain(from, machine)),
                None => Token::GitHub { env: machine.env },
            },
            client: machine.client.clone(),
            mask: mask.clone(),
        }
    }

    async fn exchange(&self) -> Result<Fetched, Why> {
        let (token, notes) = match &self.token {
            Token::From(provider) => {
                let Fetched { bytes, notes } = provider.fetch().await?;
                (bytes, notes)
            }
            Token::GitHub { env } => (self.of_github(*env).await?, Vec::new()),
        };
        // it is as good as the secret that it is exchanged for
        let token = Value::new(token)?;
        self.mask.learn(&token);
        let mut body = Zeroizing::new(Vec::new());
        pair(&mut body, "grant_type", GRANT.as_bytes());
        for (name, value) in [("audience", &self.audience), ("scope", &self.scope)] {
            if let Some(value) = value {
                pair(&mut body, name, value.as_bytes());
            }
        }
        pair(&mut body, "requested_token_type", ACCESS_TOKEN.as_bytes());
        pair(&mut body, "subject_token", token.expose());
        pair(&mut body, "subject_token_type", JWT.as_bytes());
        let headers = vec![("content-type", Zeroizing::new("application/x-www-form-urlencoded".to_owned()))];
        let answer = self.ask(Request { method: "POST", url: self.endpoint.clone(), headers, body }, token.expose()).await?;
        let bytes = field(&answer.body, "access_token");
        let bytes = bytes.ok_or_else(|| Why::Unreadable { url: self.endpoint.clone(), field: "access_token" })?;
        Ok(Fetched { bytes, notes })
    }

    /// <https://docs.github.com/en/actions/reference/security/oidc>
    async fn of_github(&self, env: fn(&str) -> Option<std::ffi::OsString>) -> Result<Zeroizing<Vec<u8>>, Why> {
        let variable = |name: &str| env(name).and_then(|value| value.into_string().ok());
        let (url, bearer) = (variable("ACTIONS_ID_TOKEN_REQUEST_URL"), variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
        let (Some(mut url), Some(bearer)) = (url, bearer.map(Zeroizing::new)) else {
            return Err(Why::NoToken(
                "on GitHub, give the job `permissions: id-token: write`; elsewhere, say where it is with `token = \"env:NAME\"`, `file:` or `cmd:`"
                    .to_owned(),
            ));
        };
        if let Some(audience) = &self.audience {
            let mut encoded = Vec::new();
            percent(audience.as_bytes(), is_unreserved, false, &mut encoded);
            url = format!("{url}{}audience={}", if url.contains('?') { '&' } else { '?' }, String::from_utf8_lossy(&encoded));
        }
        let shown_url = url.split('?').next().unwrap_or_default().to_owned();
        let headers = vec![("authorization", Zeroizing::new(format!("Bearer {}", *bearer)))];
        let answer = self.ask(Request { method: "GET", url, headers, body: Zeroizing::default() }, bearer.as_bytes()).await?;
        field(&answer.body, "value").ok_or(Why::Unreadable { url: shown_url, field: "value" })
    }

    async fn ask(&self, request: Request, secret: &[u8]) -> Result<Response, Why> {
        let url = request.url.split('?').next().unwrap_or_default().to_owned();
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| Why::Unreachable { url: url.clone(), error: shown(error.as_bytes(), secret).split_off(2) })?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        // RFC 6749, 5.2
        let words = ["error", "error_description"].into_iter().filter_map(|name| field(&answer.body, name));
        let said = words.map(|word| String::from_utf8_lossy(&word).into_owned()).collect::<Vec<_>>().join(", ");
        Err(Why::Refused { url, status: answer.status, said: shown(said.as_bytes(), secret) })
    }
}

impl Provider for Exchange {
    fn fetch(&self) -> Answer<'_, Fetched> {
        Box::pin(self.exchange())
    }
}

/// One more pair of a form.
fn pair(form: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !form.is_empty() {
        form.push(b'&');
    }
    form.extend(name.bytes());
    form.push(b'=');
    percent(value, is_unreserved, false, form);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::Mutex;

    use super::*;
    use crate::testing::{machine, secret};

    /// Answers in turn, and keeps what it was asked.
    struct Scripted {
        answers: Mutex<Vec<(u16, &'static str)>>,
        asked: Mutex<Vec<(String, String, String)>>,
    }

    impl Client for Scripted {
        fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
            let headers = request.headers.iter().map(|(name, value)| format!("{name}: {}", **value)).collect::<Vec<_>>().join(", ");
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            self.asked.lock().unwrap().push((format!("{} {}", request.method, request.url), headers, body));
            let (status, body) = self.answers.lock().unwrap().remove(0);
            Box::pin(std::future::ready(Ok(Response { status, body: Zeroizing::new(body.into()) })))
        }
    }

    async fn exchange(token: Option<&str>, answers: &[(u16, &'static str)]) -> (Result<String, String>, Arc<Scripted>, Arc<Mask>) {
        let client = Arc::new(Scripted { answers: Mutex::new(answers.to_vec()), asked: Mutex::default() });
        let machine = Machine { client: client.clone(), ..machine(Path::new("/")) };
        let mut secret = secret("deploy", "oidc:https://sts.example/token", &["https://deploy.example/**"]);
        secret.audience = Some("https://deploy.example".into());
        secret.scope = Some("a b".into());
        secret.token = token.map(str::to_owned);
        let mask = Arc::new(Mask::default());
        let fetched = Exchange::new("https://sts.example/token", &secret, &machine, &mask).fetch().await;
        (fetched.map(|f| String::from_utf8(f.bytes.to_vec()).unwrap()).map_err(|why| why.to_string()), client, mask)
    }

    #[tokio::test]
    async fn the_token_of_a_variable_is_exchanged() {
        let (value, client, mask) = exchange(Some("env:CI_TOKEN"), &[(200, r#"{"access_token":"the secret","expires_in":3600}"#)]).await;
        assert_eq!(value.unwrap(), "the secret");
        let asked = client.asked.lock().unwrap();
        assert_eq!(asked[0].0, "POST https://sts.example/token");
        assert_eq!(asked[0].1, "content-type: application/x-www-form-urlencoded");
        assert_eq!(
            asked[0].2,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=https%3A%2F%2Fdeploy.example&scope=a%20b\
             &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&subject_token=value-of-CI_TOKEN\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
        );
        assert!(mask.hides(b"value-of-CI_TOKEN"));
    }

    #[tokio::test]
    async fn github_is_asked_for_its_token() {
        let (value, client, _) =
            exchange(None, &[(200, r#"{"value":"header.payload.signature"}"#), (200, r#"{"access_token":"the secret"}"#)]).await;
        assert_eq!(value.unwrap(), "the secret");
        let asked = client.asked.lock().unwrap();
        assert_eq!(asked[0].0, "GET https://github.example/token?v=1&audience=https%3A%2F%2Fdeploy.example");
        assert_eq!(asked[0].1, "authorization: Bearer value-of-ACTIONS_ID_TOKEN_REQUEST_TOKEN");
        assert!(asked[1].2.contains("subject_token=header.payload.signature&"), "{}", asked[1].2);
    }

    #[tokio::test]
    async fn errors_say_what_was_said_and_no_token() {
        let (error, _, _) =
            exchange(Some("env:CI_TOKEN"), &[(400, r#"{"error":"invalid_grant","error_description":"value-of-CI_TOKEN is old"}"#)]).await;
        let error = error.unwrap_err();
        assert!(error.contains("answered with 400: invalid_grant, ***************** is old;"), "{error}");
        let (error, _, _) = exchange(Some("env:CI_TOKEN"), &[(200, "[]")]).await;
        assert!(error.unwrap_err().contains("holds no `access_token`"));
        let (error, _, _) = exchange(Some("env:MISSING"), &[]).await;
        assert!(error.unwrap_err().contains("`MISSING` is not set"));
    }
}
