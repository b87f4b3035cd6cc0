//! bench/SCALING.svg: what the tables say, as curves. On a white ground of its own, so that it is read on a dark page as well. Not here: figures.

use std::io;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::Points;
use super::markdown::grouped;
use super::point::{Pair, Point};

const SIZE: (u32, u32) = (1_000, 1_500);
const PANELS: (usize, usize) = (4, 2);
/// Dark enough for white, and told apart by those who do not see red and green.
const GATEWAY: RGBColor = RGBColor(0, 90, 160);
const REDIS: RGBColor = RGBColor(200, 80, 0);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line of a panel.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// One panel.
struct Panel {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    curves: Vec<Curve>,
}

/// The picture.
pub fn svg(points: &Points) -> io::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(io::Error::other)?;
        for (panel, area) in panels(points).iter().zip(area.split_evenly(PANELS)) {
            panel.draw(&area)?;
        }
        area.present().map_err(io::Error::other)?;
    }
    Ok(text)
}

fn panels(points: &Points) -> Vec<Panel> {
    let Points { sizes, rooms, nodes } = points;
    let alone = nodes.iter().find(|point| point.nodes == 1);
    let empty = alone.and_then(|point| point.empty).unwrap_or_default();
    let connections: fn(&Point) -> usize = |point| point.connections;
    let message = move |point: &Point| Some(point.paced.per_message_us(point.empty.unwrap_or(empty)));
    let (on_one, of_node) = ("connections on one node", "nodes on one Redis");
    let (us_message, percent) = ("µs per message", "% of a core");
    vec![
        Panel {
            title: "A connect, with token and join",
            x: on_one,
            y: "µs per connect",
            curves: both(sizes, connections, |point| Some(point.connect_us)),
        },
        Panel {
            title: "Memory of a connection",
            x: on_one,
            y: "KB per connection",
            curves: both(sizes, connections, |point| Some(point.memory_kb)),
        },
        Panel {
            title: "Processor while all idle",
            x: on_one,
            y: percent,
            curves: both(sizes, connections, |point| point.idle),
        },
        Panel {
            title: "A message to a room of 10",
            x: on_one,
            y: us_message,
            curves: both(sizes, connections, message),
        },
        Panel {
            title: "From sent to heard",
            x: on_one,
            y: "ms",
            curves: vec![
                curve("p50", GATEWAY, sizes, connections, |point| Some(point.paced.p50_ms)),
                curve("p99", REDIS, sizes, connections, |point| Some(point.paced.p99_ms)),
            ],
        },
        Panel {
            title: "A message, by the members of its room",
            x: "members of the room",
            y: us_message,
            curves: both(rooms, |point| point.room, message),
        },
        Panel {
            title: "A message to a room of 10 across all nodes",
            x: of_node,
            y: us_message,
            curves: both(nodes, |point| point.nodes, message),
        },
        Panel {
            title: "Nodes with nobody on them: sweeps and beats",
            x: of_node,
            y: percent,
            curves: both(nodes, |point| point.nodes, |point| point.empty),
        },
    ]
}

fn both(points: &[Point], x: fn(&Point) -> usize, y: impl Fn(&Point) -> Option<Pair>) -> Vec<Curve> {
    vec![
        curve("gateway", GATEWAY, points, x, |point| y(point).map(|pair| pair.gateway)),
        curve("Redis", REDIS, points, x, |point| y(point).map(|pair| pair.redis)),
    ]
}

fn curve(
    name: &'static str,
    colour: RGBColor,
    points: &[Point],
    x: fn(&Point) -> usize,
    y: impl Fn(&Point) -> Option<f64>,
) -> Curve {
    let seen = points.iter().filter_map(|point| Some((x(point) as f64, y(point)?)));
    Curve {
        name,
        colour,
        points: seen.collect(),
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> io::Result<()> {
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let (least, most) = all().fold((f64::MAX, 0.0), |(least, most): (f64, f64), &(x, _)| {
            (least.min(x), most.max(x))
        });
        let highest = all().map(|&(_, y)| y).fold(0.0, f64::max);
        if most == 0.0 {
            return Ok(()); // nothing was asked
        }
        let (least, most) = (least / 1.2, most * 1.2);
        // The legend stands above the curves. Rooms differ by hundreds, and so do their costs; elsewhere the eye is to compare
        // heights from the ground.
        let lowest = all().map(|&(_, y)| y).filter(|&y| y > 0.0).fold(f64::MAX, f64::min);
        if highest > 50.0 * lowest {
            self.plot(
                area,
                (least..most).log_scale(),
                (lowest / 1.5..highest * 8.0).log_scale(),
            )
        } else {
            self.plot(
                area,
                (least..most).log_scale(),
                0.0..(highest * 1.4).max(f64::MIN_POSITIVE),
            )
        }
    }

    fn plot<Y>(&self, area: &Area<'_>, x: impl Into<LogCoord<f64>>, y: Y) -> io::Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let x: LogCoord<f64> = x.into();
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .caption(self.title, ("sans-serif", 18))
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(io::Error::other)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_labels(5)
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()
            .map_err(io::Error::other)?;
        for Curve { name, colour, points } in &self.curves {
            let colour = *colour;
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)
                .map_err(io::Error::other)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 13))
            .draw()
            .map_err(io::Error::other)
    }
}

/// As much as an axis has room for.
fn short(value: f64) -> String {
    match value.abs() {
        1_000.0.. => grouped(value.round() as i64),
        10.0.. => format!("{value:.0}"),
        _ => {
            let text = format!("{value:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}
