"""Single pictures: JPEG, PNG and WebP."""

from typing import BinaryIO

from PIL import Image, ImageOps

from sharpv.errors import InputError

__all__ = ["image_size", "read_image"]

FORMATS = ("JPEG", "PNG", "WEBP")


def image_size(file: BinaryIO) -> tuple[int, int]:
    """Returns width and height of a picture, which is not decoded.

    Raises:
        InputError: it is none.
    """
    with _opened(file) as picture:
        return picture.size


def read_image(file: BinaryIO) -> Image.Image:
    """Decodes a picture: upright, RGB.

    Raises:
        InputError: it is damaged, or none.
    """
    with _opened(file) as picture:
        try:
            return ImageOps.exif_transpose(picture).convert("RGB")
        except MemoryError:
            raise
        except Exception as error:  # decoders raise much on damaged data
            raise InputError(f"cannot decode the image ({type(error).__name__}: {error})") from None


def _opened(file: BinaryIO) -> Image.Image:
    file.seek(0)
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(f"got an image of too many pixels: {error}") from None
    except MemoryError:
        raise
    except Exception:
        raise InputError(f"got an image that is none of {', '.join(FORMATS)}") from None
