"""What the help shows."""

BATCH_LINE = (
    '{"pictures": "photo.png", "instructions": ["make it night", "remove the green star"], "seed": 7}'
)
BATCH_EXAMPLE = f"each line is one edit, with one turn per instruction:\n  {BATCH_LINE}\n"
EXAMPLES = """examples:
  kontext edit photo.png "make the red circle blue"
  kontext edit photo.png "remove the green star" "make the background sand" --seed 7 --output edited/
  kontext edit photo.png "put the thing of picture 2 at row 1 column 4" --reference other.png
  kontext edit photo.png "make it night" --lora style.safetensors:0.8
  kontext edit photo.png "make it night" --gpus 2
  kontext edit photo.png "add a tree" --mask white.png --feather 8
  kontext batch edits.jsonl --output pictures/
  kontext prompt "make her hair red" --check
  kontext info flux1-kontext-dev.safetensors --check --sha256
  kontext train runs/mine --minutes 90
  kontext score --count 50 --output scores/
  kontext run workflows/three_turn_edit.json --server http://127.0.0.1:8188
  kontext run workflows/three_turn_edit.json --comfyui ~/ComfyUI --output pictures/
"""
PROMPT_EXAMPLES = """examples:
  kontext prompt "make her hair red" --check
  kontext prompt "put the hat of picture 2 on the dog" --pictures 2 --model tiny
  kontext prompt --list
  kontext prompt --template recolour target="the car" change="dark red" keep="the background"
"""
