//! The few colours of what the command line itself prints. Reports have their own (`report`).

use anstyle::{AnsiColor, Style as Ansi};

#[derive(Clone, Copy)]
pub struct Style {
    color: bool,
}

impl Style {
    pub fn new(color: bool) -> Self {
        Style { color }
    }

    pub fn colored(self) -> bool {
        self.color
    }

    fn paint(self, style: Ansi, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    pub fn note(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    pub fn strong(self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    pub fn faint(self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }
}
