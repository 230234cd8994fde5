"""Line charts as SVG, for pages of docs/."""

import dataclasses
import html
import math

WIDTH, HEIGHT = 420, 260  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 34, 46  # between its edges and the plot
COLOURS = ("#1f6feb", "#8c8c8c", "#c2410c")


@dataclasses.dataclass(frozen=True)
class Line:
    name: str
    points: list  # (x, y), x ascending
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    lines: list
    log_x: bool = False  # x > 0


def tick_step(largest):
    """A round distance of ticks that takes four or five from 0 to beyond `largest` > 0."""
    rough = largest / 4
    unit = 10 ** math.floor(math.log10(rough))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)


def text(x, y, content, anchor="middle", more=""):
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}{more}>{html.escape(content)}</text>"


class Axes:
    """Where a chart's values lie on the page."""

    def __init__(self, chart):
        self.log_x = chart.log_x
        self.xs = sorted({x for line in chart.lines for x, _ in line.points})
        largest = max(y for line in chart.lines for _, y in line.points)
        self.y_step = tick_step(largest)
        self.y_ticks = math.ceil(largest / self.y_step)

    def x(self, value):
        scale = math.log2 if self.log_x else float
        first, last = scale(self.xs[0]), scale(self.xs[-1])
        share = (scale(value) - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        share = value / (self.y_ticks * self.y_step)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def chart_elements(chart):
    axes = Axes(chart)
    base = HEIGHT - BOTTOM
    middle = (TOP + base) / 2
    elements = [
        text(WIDTH / 2, 18, chart.title, more=' font-weight="bold"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.x_label),
        text(14, middle, chart.y_label, more=f' transform="rotate(-90 14 {middle})"'),
    ]
    for i in range(axes.y_ticks + 1):
        y = axes.y(i * axes.y_step)
        elements.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        elements.append(text(LEFT - 6, y + 4, f"{i * axes.y_step:g}", "end"))
    for x in axes.xs:
        elements.append(text(axes.x(x), base + 16, f"{x:g}"))
    for i, line in enumerate(chart.lines):
        colour = COLOURS[i % len(COLOURS)]
        path = "L".join(f"{axes.x(x):.1f} {axes.y(y):.1f}" for x, y in line.points)
        dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
        elements.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        elements += [
            f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in line.points
            if not line.dashed
        ]
        elements.append(
            text(LEFT + 8, TOP + 14 + 16 * i, line.name, "start", f' style="fill:{colour}"')
        )
    return elements


def svg(charts, columns):
    """A picture of the charts, `columns` beside each other."""
    width = WIDTH * columns
    height = HEIGHT * math.ceil(len(charts) / columns)
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for i, chart in enumerate(charts):
        x, y = i % columns * WIDTH, i // columns * HEIGHT
        elements += [f'<g transform="translate({x} {y})">', *chart_elements(chart), "</g>"]
    return "\n".join([*elements, "</svg>", ""])
