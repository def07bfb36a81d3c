//! A real browser to look at a page with: Chromium without a window, told what to do through pipes (the
//! `DevTools` protocol). It has no network to speak of: pages come from files.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);

/// A page in a browser of its own.
pub(crate) struct Page {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    dir: PathBuf,
    calls: u64,
    session: Option<String>,
    /// What the page complained of: exceptions, messages of the console, breaches of its policy.
    problems: Vec<String>,
}

/// Size of the window and colours asked for.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) scheme: &'static str,
}

pub(crate) const DESK: Look = Look {
    width: 1440,
    height: 1000,
    scheme: "light",
};

/// Seen by no page of ours, as it would be if markup came out of a text.
const WATCH: &str = "
    window.breaches = [];
    window.alert = () => window.breaches.push('alert');
    addEventListener('securitypolicyviolation', (event) =>
        window.breaches.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));";

impl Page {
    /// Opens a page and waits until it has drawn everything. `None`, and says so, where there is no
    /// Chromium, except in CI.
    pub(crate) fn open(html: &str, look: Look) -> Option<Self> {
        if !is_installed() {
            assert!(
                std::env::var_os("CI").is_none(),
                "chromium is not installed"
            );
            eprintln!("not run: chromium is not installed (Debian: apt install chromium)");
            return None;
        }
        let mut page = Self::launch();
        page.call("Page.enable", &json!({}));
        page.call("Runtime.enable", &json!({}));
        page.call("Log.enable", &json!({}));
        page.call(
            "Page.addScriptToEvaluateOnNewDocument",
            &json!({"source": WATCH}),
        );
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": look.scheme}]});
        page.call("Emulation.setEmulatedMedia", &scheme);
        let metrics = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false,
        });
        page.call("Emulation.setDeviceMetricsOverride", &metrics);
        let file = page.dir.join("page.html");
        std::fs::write(&file, html).unwrap();
        page.call(
            "Page.navigate",
            &json!({"url": format!("file://{}", file.display())}),
        );
        page.wait_for("performance.getEntriesByName('drawn').length === 1");
        Some(page)
    }

    fn launch() -> Self {
        static PAGES: AtomicU32 = AtomicU32::new(0);
        let number = PAGES.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // The protocol is spoken on file descriptors 3 and 4; a sandbox of its own needs privileges.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --no-first-run \
            --disable-background-networking --disable-component-update --disable-sync \
            --disable-dev-shm-usage --user-data-dir=\"$1\" --remote-debugging-pipe about:blank \
            3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(dir.join("profile"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut page = Self {
            child,
            to,
            from: BufReader::new(from),
            dir,
            calls: 0,
            session: None,
            problems: Vec::new(),
        };
        let targets = page.call("Target.getTargets", &json!({}));
        let targets = targets["targetInfos"].as_array().unwrap();
        let target = targets
            .iter()
            .find(|target| target["type"] == "page")
            .unwrap();
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = page.call("Target.attachToTarget", &attach);
        page.session = session["sessionId"].as_str().map(str::to_owned);
        page
    }

    /// A call of the protocol.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser is gone");
        serde_json::from_slice(&message).unwrap()
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.problems.push(params.to_string()),
            Some("Runtime.consoleAPICalled") => self.problems.push(params["args"].to_string()),
            Some("Log.entryAdded") => self.problems.push(params["entry"].to_string()),
            Some(_) | None => {}
        }
    }

    /// The value of an expression, or of what it promises.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Text of the first element that a selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!(
            "document.querySelector({selector:?})?.textContent"
        ));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.eval(expression) != true {
            assert!(
                begun.elapsed() < PATIENCE,
                "never true: {expression}\n{:?}",
                self.problems
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets the page draw what has changed.
    pub(crate) fn next_frame(&mut self) {
        self.eval("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))");
    }

    /// Presses a key, as a person would: by its name in `KeyboardEvent.key`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            "End" => (35, None),
            "Home" => (36, None),
            "ArrowLeft" => (37, None),
            "ArrowUp" => (38, None),
            "ArrowRight" => (39, None),
            "ArrowDown" => (40, None),
            one => (0, Some(one)),
        };
        let mut down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            down["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", &down);
        self.call(
            "Input.dispatchKeyEvent",
            &json!({"type": "keyUp", "key": key}),
        );
        self.next_frame();
    }

    /// Types into what has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
        self.next_frame();
    }

    /// Turns the wheel over the middle of an element.
    pub(crate) fn wheel(&mut self, selector: &str, delta_y: i32) {
        let at = self.middle(selector);
        let params = json!({
            "type": "mouseWheel", "x": at[0], "y": at[1], "deltaX": 0, "deltaY": delta_y,
        });
        self.call("Input.dispatchMouseEvent", &params);
        self.next_frame();
    }

    /// Moves the pointer over the middle of an element.
    pub(crate) fn hover(&mut self, selector: &str) {
        let at = self.middle(selector);
        let params = json!({"type": "mouseMoved", "x": at[0], "y": at[1]});
        self.call("Input.dispatchMouseEvent", &params);
        self.next_frame();
    }

    fn middle(&mut self, selector: &str) -> Value {
        self.eval(&format!(
            "(() => {{
                const at = document.querySelector({selector:?}).getBoundingClientRect();
                return [at.left + at.width / 2, at.top + at.height / 2];
            }})()"
        ))
    }

    /// In another time zone.
    pub(crate) fn live_in(&mut self, zone: &str) {
        self.call(
            "Emulation.setTimezoneOverride",
            &json!({"timezoneId": zone}),
        );
    }

    /// As it would be printed.
    pub(crate) fn on_paper(&mut self) {
        self.call("Emulation.setEmulatedMedia", &json!({"media": "print"}));
    }

    /// Asserts that the page had nothing to complain of, and that no text of it became code.
    pub(crate) fn assert_clean(&mut self) {
        let breaches = self.eval("window.breaches");
        assert_eq!(breaches, json!([]));
        assert!(self.problems.is_empty(), "{:?}", self.problems);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It goes when its pipe does; but not before it has taken its children along.
        let _ = self
            .to
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("chromium").is_file())
}
