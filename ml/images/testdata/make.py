"""Makes the pictures of this folder and expected.json: what another decoder sees.

Run with Pillow 13.0.0 (libwebp 1.6.0, libjpeg-turbo 3) in this folder:

    python make.py

expected.json gives for each file its format, size, EXIF orientation and the
pixels that Pillow decodes, first frame, over white: base64 of RGB, row by row.
The orientation is not applied to them.
"""
import base64
import json

from PIL import Image

W, H = 22, 14


def scene():
    """Four corners of different colours, smooth between them."""
    corners = [(220, 40, 30), (30, 170, 60), (40, 60, 200), (240, 220, 80)]
    img = Image.new("RGB", (W, H))
    for y in range(H):
        for x in range(W):
            a, b = x / (W - 1), y / (H - 1)
            w = [(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b]
            img.putpixel((x, y), tuple(round(sum(wi * c[i] for wi, c in zip(w, corners))) for i in range(3)))
    return img


rgb = scene()
grey = rgb.convert("L")
alpha = Image.new("L", (W, H))
alpha.putdata([255 if x < W // 2 else 128 if y < H // 2 else 0 for y in range(H) for x in range(W)])
rgba = rgb.copy()
rgba.putalpha(alpha)
other = rgb.rotate(180)

contrast = Image.new("RGB", (32, 16), "white")
contrast.paste((0, 0, 0), (0, 0, 16, 16))

exif = Image.Exif()
exif[0x0112] = 6
expected = {}


def save(name, img, **options):
    img.save(name, **options)
    got = Image.open(name)
    entry = {"format": got.format.lower(), "width": got.width, "height": got.height,
             "orientation": got.getexif().get(0x0112, 1)}
    if got.mode.startswith("I;16"):
        flat = Image.new("L", got.size)
        flat.putdata([v >> 8 for v in got.get_flattened_data()])
        got = flat
    white = Image.new("RGBA", got.size, "white")
    white.alpha_composite(got.convert("RGBA"))
    entry["rgb"] = base64.b64encode(white.convert("RGB").tobytes()).decode()
    expected[name] = entry


jpeg = {"quality": 95, "subsampling": 0}
save("baseline.jpg", rgb, **jpeg)
save("subsampled.jpg", rgb, quality=95, subsampling=2)
save("progressive.jpg", rgb, progressive=True, **jpeg)
save("restart.jpg", rgb, restart_marker_blocks=1, **jpeg)
save("grey.jpg", grey, quality=95)
save("cmyk.jpg", rgb.convert("CMYK"), **jpeg)
save("orientation6.jpg", rgb, exif=exif, **jpeg)
save("rgb.png", rgb)
save("rgba.png", rgba)
save("grey.png", grey)
save("grey_alpha.png", rgba.convert("LA"))
save("grey16.png", Image.frombytes("I;16", (W, H), bytes(b for v in grey.get_flattened_data() for b in (v * 31 % 256, v))))
save("bits1.png", grey.convert("1"))
save("palette.png", rgb.quantize(16))
save("palette_alpha.png", rgb.quantize(16), transparency=3)
save("orientation6.png", rgb, exif=exif)
save("still.gif", rgb.quantize(64))
save("transparent.gif", rgb.quantize(16), transparency=3)
save("animated.gif", rgb.quantize(64), save_all=True, append_images=[other.quantize(64)], duration=100, loop=0)
save("rgb.bmp", rgb)
save("grey.bmp", grey)
save("palette.bmp", rgb.quantize(64))
save("bits1.bmp", grey.convert("1"))
save("rgba.bmp", rgb.convert("RGBA"))
save("lossy.webp", rgb, quality=95)
save("contrast.webp", contrast, quality=95)
save("lossless.webp", rgb, lossless=True)
save("lossy_alpha.webp", rgba, quality=95)
save("lossless_alpha.webp", rgba, lossless=True)
save("animated.webp", rgb, save_all=True, append_images=[other], duration=100, lossless=True)
save("animated_alpha.webp", rgba, save_all=True, append_images=[other], duration=100, quality=95)
save("orientation6.webp", rgb, exif=exif.tobytes(), quality=95)

with open("expected.json", "w") as f:
    json.dump(expected, f, indent=1, sort_keys=True)
    f.write("\n")
