/** Numbers and lists as people read them. */

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** 12 bytes, 3.4 kB, 120 MB. */
export function bytes(n: number): string {
  let unit = 0;
  let value = n;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** 0 s, 0.02 s, 0.3 s, 12 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  if (seconds < 0.005) {
    return '0 s';
  }
  if (seconds < 10) {
    return `${seconds.toFixed(seconds < 0.095 ? 2 : 1)} s`;
  }
  if (seconds < 90) {
    return `${Math.round(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 90) {
    const rest = Math.round(seconds - minutes * 60);
    return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  }
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** a, b, c and 4 more. */
export function nameList(names: readonly string[], most = 5): string {
  return names.length <= most ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}

/** The first line of a cell that says something. */
export function firstLine(source: string, most = 60): string {
  const line =
    source
      .split('\n')
      .map(text => text.trim())
      .find(text => text !== '' && !text.startsWith('#')) ??
    source.trim().split('\n')[0] ??
    '';
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** Text with `names` in code type. */
export function marked(text: string): Node[] {
  return text.split('`').map((part, at) => {
    if (at % 2 === 0) {
      return document.createTextNode(part);
    }
    const code = document.createElement('code');
    code.textContent = part;
    return code;
  });
}
