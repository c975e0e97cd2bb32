//! Drawing layer of all figures: colours, primitives and the `<svg>` document.
//!
//! Colours are presentation attributes (SVG 1.1, section 6.4), so every viewer shows them: librsvg,
//! Inkscape, office programs. Each drawing also has a style sheet with dark colours for browsers. A
//! drawing does not depend on the page that contains it.
//!
//! # Limitations
//! It does not measure text; widths are estimated from the number of columns.

mod canvas;
mod colour;

pub(crate) use canvas::{Canvas, TextAnchor, columns, wrapped};
pub(crate) use colour::Colour;

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test says what it skips")]
mod tests {
    use std::fs::File;
    use std::io::BufReader;
    use std::path::Path;
    use std::process::Command;

    use super::{Canvas, Colour};
    use crate::chart::{Line, bars, lines, stacked};
    use crate::stats::MedianRange;

    /// Renders an SVG file by librsvg and returns its pixels; `None` if the program is missing.
    fn pixels(svg: &Path) -> Option<Vec<[u8; 3]>> {
        let png = svg.with_extension("png");
        let mut command = Command::new("rsvg-convert");
        let Ok(output) = command.arg(svg).arg("--output").arg(&png).output() else {
            println!("skipped: no rsvg-convert (librsvg2-bin)");
            return None;
        };
        assert!(output.status.success(), "{output:?}");
        let mut reader = png::Decoder::new(BufReader::new(File::open(&png).unwrap()));
        reader.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
        let mut reader = reader.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(frame.color_type, png::ColorType::Rgba);
        let pixels = bytes[..frame.buffer_size()].chunks_exact(4);
        Some(pixels.map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect())
    }

    fn of(colour: Colour) -> [u8; 3] {
        let hex = u32::from_str_radix(&colour.light_and_dark().0[1..], 16).unwrap();
        let [_, red, green, blue] = hex.to_be_bytes();
        [red, green, blue]
    }

    /// Checks that most of the picture is background and that it contains these colours.
    fn expect_picture(svg: &Path, colours: &[Colour]) {
        let Some(pixels) = pixels(svg) else { return };
        let count = |colour| pixels.iter().filter(|&&pixel| pixel == of(colour)).count();
        let raised = count(Colour::Background) + count(Colour::Raised);
        assert!(raised * 2 > pixels.len(), "{}: {raised} of {}", svg.display(), pixels.len());
        for &colour in colours {
            assert!(count(colour) > 10, "{}: no {colour:?}", svg.display());
        }
    }

    #[test]
    fn librsvg_renders_charts_in_colour() {
        let place = tempfile::tempdir().unwrap();
        let range = MedianRange { median: 20.0, low: 10.0, high: 90.0 };
        let rows = [("c".to_owned(), range)];
        let line = Line { name: "d".to_owned(), points: vec![(1.0, range), (10.0, range)] };
        let drawings = [
            (bars("x", &rows), &[Colour::Series(0)][..]),
            (
                stacked("x", &["a", "b"].map(str::to_owned), &[("c".to_owned(), vec![1.0, 2.0])]),
                &[Colour::Series(0), Colour::Series(1)],
            ),
            (lines("x", "n", "us", &[line]), &[Colour::Series(0)]),
        ];
        for (svg, colours) in drawings {
            let path = place.path().join("it.svg");
            std::fs::write(&path, svg).unwrap();
            expect_picture(&path, colours);
        }
    }

    #[test]
    fn librsvg_renders_the_drawing_of_the_readme() {
        let Ok(svg) =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sendfile.svg"))
        else {
            println!("skipped: not in the repository");
            return;
        };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("it.svg");
        std::fs::write(&path, svg).unwrap();
        expect_picture(&path, &[Colour::Refer, Colour::Copy, Colour::User, Colour::Call]);
    }

    #[test]
    #[should_panic(expected = "it.svg")]
    fn black_rectangle_is_no_picture() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("it.svg");
        let mut canvas = Canvas::default();
        canvas.block(0.0, 0.0, 10.0, 10.0, Colour::Ink, "");
        std::fs::write(&path, canvas.into_svg((10.0, 10.0), 1.0, "x")).unwrap();
        expect_picture(&path, &[]);
        assert!(pixels(&path).is_some(), "it.svg was not rendered");
    }
}
