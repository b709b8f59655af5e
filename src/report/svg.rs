//! A drawing as an SVG document.
//!
//! Written here rather than by plotters' own backend, which rounds every point to whole pixels (a loss curve turns into
//! stairs), cannot raise an exponent or dash a line, and knows no classes, so no dark mode.

use super::palette::{Ink, SERIES, hex};
use super::scene::{Anchor, EXPONENT, Item, RAISE, Scene};
use std::fmt::Write as _;
use std::sync::OnceLock;

impl Scene {
    /// The drawing as an SVG document that brings its own paper and follows the reader's light or dark preference.
    ///
    /// `title` and `description` are for those who cannot see it.
    pub(crate) fn svg(&self, title: &str, description: &str) -> String {
        self.markup(title, description, &format!("<style>{}</style>\n", dark_rules()), "")
    }

    /// The same as an element of an HTML page whose style sheet has the [`dark_rules`]; `class` is added to its class.
    pub(crate) fn svg_inline(&self, title: &str, description: &str, class: &str) -> String {
        self.markup(title, description, "", class)
    }

    fn markup(&self, title: &str, description: &str, style: &str, name: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let space = if name.is_empty() { "" } else { " " };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart{space}{name}\" role=\"img\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n<title>{}</title>\n<desc>{}</desc>\n{style}",
            escape(title),
            escape(description)
        );
        let paper = class(Ink::Paper, 'f');
        let _ = writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"{paper}/>");
        self.items.iter().for_each(|item| svg_item(&mut out, item));
        out.push_str("</svg>\n");
        out
    }
}

/// `text` with every character escaped that means something in HTML or XML, and control characters left out.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// `value` with at most two decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { String::from("0") } else { text.to_owned() }
}

/// The class of an ink as stroke ('s') or fill ('f'), which the dark rules recolour; none for a fixed colour.
fn class_name(ink: Ink, role: char) -> Option<String> {
    match ink {
        Ink::Fixed(_) => None,
        Ink::Text => Some(format!("{role}t")),
        Ink::Muted => Some(format!("{role}m")),
        Ink::Frame => Some(format!("{role}x")),
        Ink::Grid => Some(format!("{role}g")),
        Ink::Paper => Some(format!("{role}p")),
        Ink::Series(index) => Some(format!("{role}{}", index % SERIES)),
        Ink::Pale(index) => Some(format!("{role}l{}", index % SERIES)),
    }
}

/// The class as an attribute.
fn class(ink: Ink, role: char) -> String {
    class_name(ink, role).map_or(String::new(), |name| format!(" class=\"{name}\""))
}

/// Light colours are plain attributes, which every renderer knows; these rules replace them on a dark page.
pub(crate) fn dark_rules() -> &'static str {
    static RULES: OnceLock<String> = OnceLock::new();
    RULES.get_or_init(|| {
        let fixed = [Ink::Text, Ink::Muted, Ink::Frame, Ink::Grid, Ink::Paper];
        let series = (0..SERIES).flat_map(|index| [Ink::Series(index), Ink::Pale(index)]);
        let mut rules = String::from("@media (prefers-color-scheme:dark){");
        for ink in fixed.into_iter().chain(series) {
            for (role, property) in [('s', "stroke"), ('f', "fill")] {
                let name = class_name(ink, role).unwrap_or_default();
                let _ = write!(rules, ".chart .{name}{{{property}:{}}}", hex(ink.dark()));
            }
        }
        rules.push('}');
        rules
    })
}

fn svg_item(out: &mut String, item: &Item) {
    match item {
        Item::Line { points, ink, width, dash } => {
            let path: Vec<String> = points.iter().map(|p| format!("{},{}", number(p.0), number(p.1))).collect();
            let dash: Vec<String> = dash.iter().map(|&length| number(length)).collect();
            let dash =
                if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", dash.join(" ")) };
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{dash}{}/>",
                path.join(" "),
                hex(ink.light()),
                number(*width),
                class(*ink, 's')
            );
        }
        Item::Polygon { points, ink } => {
            let path: Vec<String> = points.iter().map(|p| format!("{},{}", number(p.0), number(p.1))).collect();
            let _ = writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{}\"{}/>",
                path.join(" "),
                hex(ink.light()),
                class(*ink, 'f')
            );
        }
        Item::Text { at, text, exponent, size, anchor, ink, upward } => {
            let (x, y) = (number(at.0), number(at.1));
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let turn = if *upward { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            let raised = if exponent.is_empty() {
                String::new()
            } else {
                let (rise, small) = (number(-size * RAISE), number(size * EXPONENT));
                format!("<tspan dy=\"{rise}\" font-size=\"{small}\">{}</tspan>", escape(exponent))
            };
            let _ = writeln!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"{anchor}{turn}{}>{}{raised}</text>",
                number(*size),
                hex(ink.light()),
                class(*ink, 'f'),
                escape(text)
            );
        }
        Item::Picture { .. } => {}
    }
}
