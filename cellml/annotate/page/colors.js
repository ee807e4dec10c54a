/** Contrast and colour: raw samples become RGBA by one look-up table a channel. */

const PRIMARIES = ["#ff0000", "#00ff00", "#0000ff"];
const SET = ["#4f7dff", "#3ddc84", "#ff5c5c", "#ffd43b", "#e066ff", "#3bd6e0"];

/** Display settings of an image's channels before the user changes them. */
export function defaultChannels({ channels, ranges, maximum, dtype }) {
  const colored = isColored(channels);
  // One range for red, green and blue keeps the colours of stained tissue.
  const common = [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  return channels.map((name, i) => {
    const [low, high] = colored ? common : ranges[i];
    const limit = dtype === "uint8" ? 255 : Math.max(1, maximum[i]);
    const color = channels.length === 1 ? "#ffffff" : colored ? PRIMARIES[i] : SET[i % SET.length];
    return { name, color, visible: true, low, high: Math.max(high, low + 1), limit, auto: [low, high] };
  });
}

export function isColored(names) {
  return names.length === 3 && names.every((name, i) => ["red", "green", "blue"][i].startsWith(name.toLowerCase()));
}

/** Tables of a colour's three parts for every sample value; null for hidden channels. */
export function lookUpTables(channels, dtype) {
  const size = dtype === "uint8" ? 256 : 65536;
  return channels.map(({ color, visible, low, high }) => {
    if (!visible) return null;
    const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    // Packed as 0x00BBGGRR; the sums of channels are clamped per part.
    const packed = new Uint32Array(size);
    const range = Math.max(high - low, 1e-9);
    for (let value = 0; value < size; value++) {
      const t = Math.min(1, Math.max(0, (value - low) / range));
      packed[value] = Math.round(parts[0] * t) | (Math.round(parts[1] * t) << 8) | (Math.round(parts[2] * t) << 16);
    }
    return packed;
  });
}

const OPAQUE = 0xff000000;

/** Paints a raw tile into a canvas by the tables. */
export function colorTile({ samples, channels, height, width }, tables, canvas) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  const plane = height * width;
  const shown = [...Array(channels).keys()].filter((c) => tables[c]);
  if (shown.length === 1) {
    const [c] = shown;
    const table = tables[c];
    const start = c * plane;
    for (let i = 0; i < plane; i++) pixels[i] = table[samples[start + i]] | OPAQUE;
  } else {
    addChannels(samples, plane, tables, shown, pixels);
  }
  context.putImageData(picture, 0, 0);
}

function addChannels(samples, plane, tables, shown, pixels) {
  pixels.fill(OPAQUE);
  for (const c of shown) {
    const table = tables[c];
    const start = c * plane;
    for (let i = 0; i < plane; i++) {
      const a = pixels[i];
      const b = table[samples[start + i]];
      if (b === 0) continue;
      let red = (a & 255) + (b & 255);
      let green = ((a >> 8) & 255) + ((b >> 8) & 255);
      let blue = ((a >> 16) & 255) + ((b >> 16) & 255);
      if (red > 255) red = 255;
      if (green > 255) green = 255;
      if (blue > 255) blue = 255;
      pixels[i] = OPAQUE | (blue << 16) | (green << 8) | red;
    }
  }
}
