/** Inline SVG icons, 20 x 20, drawn with the colour of the text around them. */

const PATHS = {
  contour: '<path d="M4.5 11.500c-.8-4 2-7.2 5.7-7.2 3.4 0 5.8 2.3 5.3 5.3-.5 3.2-3.3 6-6.3 6-1.5 0-2.4-.6-2.4-1.7" /><path d="M4.6 16.4 7.3 13.6" />',
  point: '<circle cx="10" cy="10" r="2"/><path d="M10 2.800v3.400M10 13.800v3.400M2.8 10h3.400M13.8 10h3.4"/>',
  box: '<rect x="4" y="5" width="12" height="10" rx=".5"/><path d="M4 5h.01M16 5h.01M4 15h.01M16 15h.01" stroke-width="3.4"/>',
  brush: '<path d="M16.3 3.700c-3.2 1.2-6 3.8-7.7 7l1.7 1.700c3.2-1.7 5.5-4.8 6-8.700z"/><path d="M7.8 11.700c-2 0-2.8 1.2-2.9 2.6-.1 1-.6 1.7-1.4 2 2.7.7 6-.2 6-2.9"/>',
  eraser: '<path d="m11.3 4.5 4.7 4.7-6.3 6.300H6.800l-3-3c-.5-.5-.5-1 0-1.500z"/><path d="m7.5 8.3 4.7 4.700M9.7 15.500h6"/>',
  select: '<path d="m5 3.5 10.5 6-4.6 1.4-2.3 4.600z"/>',
  label: '<path d="M4 4.500h5.500l6.7 6.7-5 5L4.5 9.500z"/><circle cx="7.4" cy="7.6" r=".8" fill="currentColor"/>',
  split: '<path d="M15.5 4 4.5 16"/><path d="M8 4.700C5.5 5.3 4 7.3 4 9.600c0 1 .2 1.7.6 2.500M15.5 8.300c.3.6.5 1.3.5 2 0 2.8-2 5-4.7 5.3"/>',
  merge: '<circle cx="7.5" cy="10" r="4.2"/><circle cx="12.5" cy="10" r="4.2"/>',
  trash: '<path d="M4.5 6h11M8 6V4.200h4V6M6 6l.6 9.800h6.800L14 6M8.7 8.700v4.300M11.3 8.700v4.3"/>',
  undo: '<path d="M7.5 4.5 4 8l3.5 3.5"/><path d="M4.3 8h7.200a4 4 0 0 1 0 8H8"/>',
  redo: '<path d="M12.5 4.5 16 8l-3.5 3.5"/><path d="M15.7 8H8.500a4 4 0 0 0 0 8H12"/>',
  left: '<path d="m12 5-5 5 5 5"/>',
  right: '<path d="m8 5 5 5-5 5"/>',
  plus: '<path d="M10 4.500v11M4.5 10h11"/>',
  minus: '<path d="M4.5 10h11"/>',
  check: '<path d="m4.5 10.5 3.7 3.7 7.3-8"/>',
  close: '<path d="m5.5 5.5 9 9M14.5 5.500l-9 9"/>',
  help: '<path d="M7.3 7.600c0-1.6 1.2-2.7 2.8-2.700s2.7 1 2.7 2.500c0 2.2-2.7 2.3-2.7 4.4"/><path d="M10.1 15h.01" stroke-width="2"/>',
  sparkle: '<path d="M9 3.500c.6 3.5 2 5 5.5 5.7-3.5.7-4.9 2.2-5.5 5.7-.6-3.5-2-5-5.5-5.700C7 8.5 8.4 7 9 3.500zM15 12.500c.3 1.6.9 2.2 2.4 2.5-1.5.3-2.1.9-2.4 2.5-.3-1.6-.9-2.2-2.4-2.5 1.5-.3 2.1-.9 2.4-2.500z"/>',
  train: '<path d="M3.5 15.500h13M4.5 13l3.5-4 3 2.3 4.7-6.6"/><path d="M12.5 4.500h3.300v3.3"/>',
  download: '<path d="M10 3.500v8.800M6.5 9l3.5 3.500L13.5 9M4 16h12"/>',
  upload: '<path d="M10 12.500V3.700M6.5 7 10 3.5 13.5 7M4 16h12"/>',
  folder: '<path d="M3.5 6V15h13V7.300H10L8.5 5.300h-5z"/>',
  images: '<rect x="3.5" y="4.5" width="13" height="11" rx="1.2"/><path d="m4 13.5 3.6-3.6 2.7 2.6 2.3-2.2 3.6 3.4"/><circle cx="12.8" cy="7.6" r="1"/>',
  eye: '<path d="M2.8 10c1.8-3.3 4.2-4.9 7.2-4.900s5.4 1.6 7.2 4.900c-1.8 3.3-4.2 4.9-7.2 4.900S4.6 13.3 2.8 10z"/><circle cx="10" cy="10" r="2.2"/>',
  invert: '<circle cx="10" cy="10" r="6.2"/><path d="M10 3.800a6.2 6.2 0 0 1 0 12.400z" fill="currentColor"/>',
  fit: '<path d="M10 4.200c3.6 0 5.8 2.5 5.8 5.800s-2.3 5.8-5.8 5.800S4.2 13.3 4.2 10 6.5 4.2 10 4.200z" stroke-dasharray="2 2"/><circle cx="10" cy="10" r="3"/>',
  done: '<circle cx="10" cy="10" r="6.5"/><path d="m7.2 10.2 2 2 3.7-4.2"/>',
  more: '<path d="M5 10h.01M10 10h.01M15 10h.01" stroke-width="2.2"/>',
};

/** Returns the SVG text of an icon. */
export function icon(name) {
  return `<svg viewBox="0 0 20 20" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${PATHS[name]}</svg>`;
}
