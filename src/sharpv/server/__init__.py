"""A server with OpenAI's API that answers by transformers, with both stages of SharpV."""
