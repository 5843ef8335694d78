"""Names by which an answer gives away who wrote it: those a project starts with. A manager changes its own list."""


def usual_makers() -> list[str]:
    return [
        "ChatGPT", "GPT", "OpenAI", "Claude", "Anthropic", "Gemini", "Gemma", "Google DeepMind", "Llama", "Meta AI", "Mistral",
        "Mixtral", "Qwen", "Alibaba Cloud", "DeepSeek", "SmolLM", "Hugging Face", "Phi-3", "Phi-4", "xAI", "Cohere",
    ]  # fmt: skip
