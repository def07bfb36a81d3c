// Durations, moments and counts as text.

/** `38us`, `12.04ms`, `1.203s`, `2m05s`: as tracer writes them elsewhere, cut and not rounded. */
function duration(ns) {
  const us = Math.floor(ns / 1e3), seconds = Math.floor(ns / 1e9);
  if (ns < 1e3) return `${Math.floor(ns)}ns`;
  if (ns < 1e6) return `${us}us`;
  if (ns < 1e9) return `${thousandths(us)}ms`;
  if (seconds < 60) return `${thousandths(Math.floor(us / 1e3))}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}m`;
  return `${Math.floor(seconds / 86400)}d${two(Math.floor(seconds / 3600) % 24)}h`;
}

/** A number of thousandths below a million, with four significant digits. */
function thousandths(number) {
  const whole = Math.floor(number / 1000), rest = String(number % 1000).padStart(3, "0");
  return `${whole}.${rest.slice(0, whole < 10 ? 3 : whole < 100 ? 2 : 1)}`;
}

/** A duration known to within 1 %, as a median is: two digits of it. */
function about(ns) {
  const rounded = Number(ns.toPrecision(2));
  const unit = [[1e3, 1, "ns"], [1e6, 1e3, "us"], [1e9, 1e6, "ms"], [60e9, 1e9, "s"]].find(([below]) => rounded < below);
  return unit ? `${Number((rounded / unit[1]).toPrecision(2))}${unit[2]}` : duration(rounded);
}

const two = (number) => String(number).padStart(2, "0");

/** Of a connection: `>` where only a part was seen, `?` where nothing was. */
function lastedText(conn) {
  if (conn.lasted_is_minimum && conn.lasted === 0) return "?";
  return (conn.lasted_is_minimum ? ">" : "") + duration(conn.lasted);
}

/** Of a state. */
function spanLasted(span) {
  if (span.lasted !== null) return (span.atLeast ? "at least " : "") + duration(span.lasted);
  if (span.over) return "";
  return span.expected === null ? "not known" : `not seen; ${duration(span.expected)} by the kernel's rules`;
}

const counts = new Intl.NumberFormat("en");
const count = (number) => counts.format(number);
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? number : number.toPrecision(3)} ${units[unit]}`;
}

/** Wall-clock times in the viewer's zone or in UTC. The clock may have been set during the trace. */
class WallClock {
  constructor(clocks) {
    this.clocks = clocks;
    this.utc = false;
  }

  /** Whole seconds since 1970, and the nanoseconds beyond. */
  at(ns) {
    let map = this.clocks[0];
    for (const later of this.clocks) if (later.at_ns <= ns) map = later;
    const beyond = ns - map.at_ns + map.wall_subsec_ns;
    const seconds = Math.floor(beyond / 1e9);
    return { seconds: map.wall_s + seconds, ns: Math.round(beyond - seconds * 1e9) };
  }

  /** `14:00:03.500210`, with as many decimals as asked for. */
  time(ns, decimals = 6) {
    const moment = this.at(ns);
    const date = new Date(moment.seconds * 1000);
    const [h, m, s] = this.utc
      ? [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
      : [date.getHours(), date.getMinutes(), date.getSeconds()];
    const fraction = String(moment.ns).padStart(9, "0").slice(0, decimals);
    return `${two(h)}:${two(m)}:${two(s)}${decimals > 0 ? `.${fraction}` : ""}`;
  }

  /** `2026-03-01` */
  day(ns) {
    const date = new Date(this.at(ns).seconds * 1000);
    const [y, m, d] = this.utc
      ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
      : [date.getFullYear(), date.getMonth(), date.getDate()];
    return `${y}-${two(m + 1)}-${two(d)}`;
  }

  /** `UTC` or `UTC+02:00` */
  zone(ns) {
    if (this.utc) return "UTC";
    const minutes = -new Date(this.at(ns).seconds * 1000).getTimezoneOffset();
    const ahead = Math.abs(minutes);
    return `UTC${minutes < 0 ? "-" : "+"}${two(Math.floor(ahead / 60))}:${two(ahead % 60)}`;
  }
}

