//! A real browser without a window: Debian's Chromium, driven by its ChromeDriver in WebDriver's words.

use std::env;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::process::Process;

/// How long a browser may take to start, or for one command.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    address: SocketAddr,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

/// Where a program lies in the PATH.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether there is a browser to start; tests without one say so and end.
pub fn is_there() -> bool {
    find("chromium").is_some() && find("chromedriver").is_some()
}

impl Browser {
    /// Starts one of this size in pixels.
    pub fn start(width: u32, height: u32) -> Result<Browser> {
        let none = || Error::other("chromium and chromium-driver are not installed");
        let (chromium, driver) = (find("chromium").ok_or_else(none)?, find("chromedriver").ok_or_else(none)?);
        let nothing: [(&str, &str); 0] = [];
        let driver = Process::spawn(&driver, ["--port=0"], nothing)?;
        let started = "started successfully on port ";
        let line = driver.wait_for_line(|line| line.contains(started), PATIENCE);
        let port = line.as_deref().and_then(|line| line.split_once(started)).map(|(_, port)| port);
        let port = port.and_then(|port| port.trim_end_matches('.').parse::<u16>().ok());
        let port = port.ok_or_else(|| Error::other(driver.lines().join("\n")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let profile = tempfile::tempdir()?;
        // It asks nobody but the page: what it would fetch for itself is refused by a closed network, loudly.
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},{height}"),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments}}}});
        let opened = ask(address, "POST", "/session", Some(&wanted))?;
        let session = opened["sessionId"].as_str().ok_or_else(|| Error::other(opened.to_string()))?;
        Ok(Browser { address, session: session.to_owned(), _driver: driver, _profile: profile })
    }

    fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        ask(self.address, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.command("POST", "/url", Some(&json!({"url": url}))).map(drop)
    }

    /// What the page's `return …` gives.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.command("POST", "/execute/sync", Some(&json!({"script": script, "args": []})))
    }

    /// Presses keys, as a person does, in whatever has the focus. Special ones are WebDriver's: `\u{E00C}` is Escape,
    /// `\u{E015}` the arrow down, `\u{E007}` Enter, `\u{E004}` Tab.
    pub fn press(&self, keys: &str) -> Result<()> {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|way| json!({"type": way, "value": key.to_string()})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]});
        self.command("POST", "/actions", Some(&actions)).map(drop)
    }

    /// How assistive technology names and takes each element that a selector finds: role and name.
    pub fn spoken(&self, selector: &str) -> Result<Vec<(String, String)>> {
        let by = json!({"using": "css selector", "value": selector});
        let found = self.command("POST", "/elements", Some(&by))?;
        let ids = found.as_array().into_iter().flatten().filter_map(|element| {
            element.as_object().and_then(|element| element.values().next()).and_then(Value::as_str)
        });
        ids.map(|id| {
            let said = |what: &str| self.command("GET", &format!("/element/{id}/{what}"), None);
            let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
            Ok((text(said("computedrole")?), text(said("computedlabel")?)))
        })
        .collect()
    }

    /// Says a command of Chrome's own, which WebDriver has no word for.
    pub fn chrome(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.command("POST", "/goog/cdp/execute", Some(&json!({"cmd": command, "params": parameters})))
    }

    /// A picture of what is seen, as PNG.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let picture = self.command("GET", "/screenshot", None)?;
        BASE64_STANDARD.decode(picture.as_str().unwrap_or_default()).map_err(Error::other)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends by this; its driver ends with the process.
        let _ = self.command("DELETE", "", None);
    }
}

/// One command; an error is what WebDriver says of it.
fn ask(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let body = body.map(Value::to_string);
    let mut client = Client::connect(address)?;
    client.set_read_timeout(PATIENCE)?;
    let json = [("content-type", "application/json")];
    let reply =
        client.request(method, &address.to_string(), path, &json, body.as_deref().map(str::as_bytes))?;
    let mut said: Value = serde_json::from_slice(&reply.body).map_err(Error::other)?;
    match reply.status {
        200 => Ok(said["value"].take()),
        _ => Err(Error::other(said["value"].to_string())),
    }
}
